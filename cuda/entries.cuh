// The masses of a node's two rows, entry by entry.
#pragma once

#include "anydraft/detail/play.h"
#include "block.cuh"

namespace anydraft::detail {

// Unscaled masses of a row; all 0 where the distribution is one-hot. There is no branch, so that
// loops keep many loads in flight.
struct RowFractions {
  float scale, lower;
  int32_t exponent;
  ANYDRAFT_HD explicit RowFractions(const Distribution& distribution)
      : scale(distribution.scale),
        lower(distribution.one_hot < 0 ? distribution.lower : INFINITY),
        exponent(distribution.exponent) {}
  ANYDRAFT_HD double operator()(float x) const {
    const float fraction = scaled_power(Larger{}(x, lower), scale, exponent);
    return static_cast<double>(x >= lower ? fraction : 0.0f);
  }
};

// relu(weight * target - drafted * draft), as the CPU engine's sweeps compute it.
struct Left {
  RowFractions target, draft;
  double of_target, of_draft;
  ANYDRAFT_HD Left(const Distribution& target, const Distribution& draft, double weight,
                   double drafted)
      : target(target),
        draft(draft),
        of_target(weight * scale_of(target)),
        of_draft(-drafted * scale_of(draft)) {}
  ANYDRAFT_HD static double scale_of(const Distribution& distribution) {
    return distribution.one_hot >= 0 ? 1 : distribution.inverse_total;
  }
  ANYDRAFT_HD double operator()(float target_logit, float draft_logit) const {
    const double left = fma(of_draft, draft(draft_logit), of_target * target(target_logit));
    return left > 0 ? left : 0;
  }
};

// Masses of the node's rows: mass() of detail/distribution.h.
template <class Read>
struct Entries {
  Distribution target_distribution, draft_distribution;
  Read target_row, draft_row;
  // A mass is a fraction times the scale of its distribution.
  ANYDRAFT_HD static double fraction_at(const Distribution& distribution, Read row, int64_t at) {
    if (distribution.one_hot >= 0) return at == distribution.one_hot ? 1.0 : 0.0;
    const float x = row(at);
    return x >= distribution.lower
               ? static_cast<double>(scaled_power(x, distribution.scale, distribution.exponent))
               : 0.0;
  }
  ANYDRAFT_HD static double scale_of(const Distribution& distribution) {
    return Left::scale_of(distribution);
  }
  ANYDRAFT_HD double target(int64_t at) const {
    return fraction_at(target_distribution, target_row, at) * scale_of(target_distribution);
  }
  ANYDRAFT_HD double draft(int64_t at) const {
    return fraction_at(draft_distribution, draft_row, at) * scale_of(draft_distribution);
  }
  ANYDRAFT_HD double left(double weight, double drafted, int64_t at) const {
    const double kept =
        weight * scale_of(target_distribution) * fraction_at(target_distribution, target_row, at);
    const double left = fma(-drafted * scale_of(draft_distribution),
                            fraction_at(draft_distribution, draft_row, at), kept);
    return left > 0 ? left : 0;
  }

  // Calls f(at, target logit, draft logit) in the order of for_ahead.
  template <int ahead, class F>
  ANYDRAFT_HD void for_both(int64_t from, int64_t end, int64_t step, F f) const {
    int64_t at = from;
    for (; at + (ahead - 1) * step < end; at += ahead * step) {
      float target[ahead], draft[ahead];
      for (int i = 0; i < ahead; ++i) {
        target[i] = target_row(at + i * step);
        draft[i] = draft_row(at + i * step);
      }
      for (int i = 0; i < ahead; ++i) f(at + i * step, target[i], draft[i]);
    }
    for (; at < end; at += step) f(at, target_row(at), draft_row(at));
  }
};

// Whether one plain reader serves both rows.
ANYDRAFT_HD inline bool reads_alike(const Distribution& target, const Distribution& draft) {
  return draft.dtype == target.dtype && draft.size >= target.size && !draft.map;
}

// The sum of min(draft, cap * target) over a lane's entries.
template <class Read>
ANYDRAFT_HD double lane_overlap(const Entries<Read>& entries, double cap, int64_t from,
                                int64_t end) {
  const Distribution &target = entries.target_distribution, &draft = entries.draft_distribution;
  const double of_target = Left::scale_of(target), of_draft = Left::scale_of(draft);
  double sum = 0;
  const auto add = [&](double drafted, double kept) {
    const double most = cap * (kept * of_target);
    drafted *= of_draft;
    sum += drafted > most ? most : drafted;
  };
  if (target.one_hot >= 0 || draft.one_hot >= 0) {
    for (int64_t at = from; at < end; at += kLanes) {
      add(entries.fraction_at(draft, entries.draft_row, at),
          entries.fraction_at(target, entries.target_row, at));
    }
    return sum;
  }
  const RowFractions targets(target), drafts(draft);
  entries.template for_both<8>(from, end, kLanes,
                               [&](int64_t, float x, float y) { add(drafts(y), targets(x)); });
  return sum;
}

// The next of the tokens from, from + step, ... whose U cannot be read off the rows; `end`: none.
// These are tokens of certain children and of sparse distributions.
ANYDRAFT_HD inline int64_t next_untold(const Play& play, int32_t node, int64_t from, int64_t end,
                                       int64_t step) {
  int64_t next = end;
  const auto offer = [&](int64_t id) {
    if (id >= from && id < next && (id - from) % step == 0) next = id;
  };
  const ProposalKind kind = play.kinds[node];
  if (kind == ProposalKind::kSparse) {
    for (int32_t i = play.sparse_offsets[node]; i < play.sparse_offsets[node + 1]; ++i) {
      offer(play.ids[i]);
    }
  } else if (kind == ProposalKind::kOneHot || excludes_later(kind)) {
    for (int32_t c = play.first_child[node]; c >= 0; c = play.next_sibling[c]) {
      if (is_certain(play, c)) offer(play.tokens[c]);
    }
  }
  return next;
}

}  // namespace anydraft::detail
