#include "rows/cpu_rows.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "anydraft/error.h"
#include "base/parallel.h"
#include "rows/chunks.h"
#include "rows/draft_rows.h"
#include "rows/picks.h"

namespace anydraft::detail {

void link_children(const int32_t* parents, int32_t nodes, int32_t* first_child,
                   int32_t* next_sibling) {
  for (int32_t node = 0; node < nodes; ++node) first_child[node] = next_sibling[node] = -1;
  for (int32_t node = nodes - 1; node > 0; --node) {  // backwards: siblings keep their order
    next_sibling[node] = first_child[parents[node]];
    first_child[parents[node]] = node;
  }
}

namespace {

constexpr Residual kNoResidual{-1, -1, 0, 0, 0, 0};

bool same(const Residual& a, const Residual& b) {  // but for the sum
  return a.node == b.node && a.rejected == b.rejected && a.weight == b.weight &&
         a.drafted == b.drafted && a.cap == b.cap;
}

}  // namespace

CpuRows::CpuRows(const VerifyRequest& all, int64_t request, CpuScratch& scratch)
    : all_(all), request_(request), base_(all.trees.offsets[request]), scratch_(scratch) {
  const int32_t nodes = all.trees.offsets[request + 1] - base_;
  scratch.first_child.resize(nodes);
  scratch.next_sibling.resize(nodes);
  scratch.spent.assign(nodes, 0);
  scratch.saved.resize(nodes);
  scratch.distributions.resize(nodes);
  for (CpuScratch::NodeDistributions& distributions : scratch.distributions)
    distributions.loaded = false;
  scratch.foreseen.assign(nodes, kNoResidual);
  if (traits_of(all.verifier).has(kSelects)) scratch.selections.resize(nodes);
  link_children(all.trees.parents + base_, nodes, scratch.first_child.data(),
                scratch.next_sibling.data());
  const auto slice = [this](const auto* array) { return array ? array + base_ : nullptr; };
  const UniformsView& uniforms = all.uniforms;
  play_ = {all.trees.tokens + base_,
           all.trees.parents + base_,
           scratch.first_child.data(),
           scratch.next_sibling.data(),
           all.proposals.kinds + base_,
           slice(all.trees.paths),
           slice(all.proposals.sparse_offsets),
           all.proposals.ids,
           all.proposals.masses,
           scratch.spent.data(),
           scratch.saved.data(),
           scratch.selections.data(),
           slice(uniforms.accept),
           slice(uniforms.pick),
           slice(uniforms.select),
           uniforms.seeds ? uniforms.seeds[request] : uniforms.seed,
           uniforms.requests ? uniforms.requests[request] : static_cast<uint32_t>(request),
           uniforms.positions ? uniforms.positions[request] : 0};
}

Distribution CpuRows::target_distribution(int32_t node, Fractions* keep) {
  totalled_ = node;
  const Distribution distribution = distribution_of(
      all_.target_row(base_ + node), all_.target_params(request_), &scratch_.reading, keep);
  scratch_.reading.totals.resize(chunks_of(vocab()), 0.0);
  if (keep) keep->extend(distribution.size, vocab());
  return distribution;
}

Distribution CpuRows::draft_distribution(int32_t node, Fractions* keep) {
  const int32_t index = all_.proposals.rows[base_ + node];
  DraftRow dense;
  if (!all_.draft_rows) dense.logits = all_.draft_logits.at(index);
  const DraftRow& row = all_.draft_rows ? *all_.draft_rows[index] : dense;
  Distribution distribution = unread_row(row);
  if (row.known) {
    take_known(*row.known, distribution);
    if (keep) keep_masses(distribution, *keep);
  } else if (!normalise(distribution, all_.draft_params(request_), row.logits.name, nullptr,
                        keep)) {
    fail_without_mass(row.logits.name);
  }
  if (keep) keep->extend(distribution.size, vocab());
  return distribution;
}

void CpuRows::load(int32_t node) {
  CpuScratch::NodeDistributions& distributions = scratch_.distributions[node];
  has_draft_ = subtracts(node);
  if (!distributions.loaded) {
    // Where a drawn child is rejected, sums want the masses: kept while the rows are read.
    const bool keep = has_draft_ && expects_sums(node);
    if (keep) kept_ = node;
    if (has_draft_) {
      distributions.draft = draft_distribution(node, keep ? &scratch_.draft : nullptr);
    }
    distributions.target = target_distribution(node, keep ? &scratch_.target : nullptr);
    distributions.loaded = true;
  }
  target_ = distributions.target;
  draft_ = distributions.draft;
  node_ = node;
}

// A guess, for speed alone: a uniform in the lower half of what is offered seldom rejects an only
// child.
bool CpuRows::expects_sums(int32_t node) const {
  const int32_t child = first_child(node);
  const bool always =
      all_.want_acceptance || traits_of(all_.verifier).has(kSums) || next_sibling(child) >= 0;
  return always || 2 * uniform_for(play_, Purpose::kAccept, child) >= offered_;
}

void CpuRows::keep() {
  if (kept_ == node_) return;
  keep_masses(target_, scratch_.target);
  scratch_.target.extend(target_.size, vocab());
  if (has_draft_) {
    keep_masses(draft_, scratch_.draft);
    scratch_.draft.extend(draft_.size, vocab());
  }
  kept_ = node_;
}

Pair CpuRows::pair_at(int64_t begin) const {
  const Fractions &target = scratch_.target, &draft = has_draft_ ? scratch_.draft : target;
  const int64_t chunk = begin / kChunk;
  return {target.from(begin), draft.from(begin), target.scales[chunk], draft.scales[chunk]};
}

// Tokens whose U the row's formula does not give, in ascending order.
void CpuRows::find_patches(const Residual& residual) {
  auto& patches = scratch_.patches;
  patches.clear();
  const int32_t node = residual.node;
  const auto add = [&](int32_t id) { patches.emplace_back(id, weight(residual, id)); };
  bool rejected = residual.rejected >= 0;  // the children up to it are
  if (play_.kinds[node] == ProposalKind::kSparse) {
    const int32_t begin = play_.sparse_offsets[node], end = play_.sparse_offsets[node + 1];
    for (int32_t i = begin; i < end; ++i) add(play_.ids[i]);
  } else {
    for (int32_t c = first_child(node); c >= 0; c = next_sibling(c)) {
      if (rejected && scratch_.spent[c]) {
        patches.emplace_back(token(c), 0.0);  // without weight()'s look at all its siblings
      } else if (is_certain(play_, c)) {
        add(token(c));
      }
      if (c == residual.rejected) rejected = false;
    }
  }
  std::sort(patches.begin(), patches.end());
  patches.erase(std::unique(patches.begin(), patches.end()), patches.end());  // equal siblings
}

void CpuRows::residual_masses(const Residual& residual, int64_t begin, int64_t end, double* out) {
  if (residual.cap > 0 || (selected_ && residual.drafted > 0)) {
    for (int64_t i = begin; i < end; ++i) out[i - begin] = weight(residual, i);
    return;
  }
  if (subtracts_row(residual)) {
    sweeps().residual(pair_at(begin), end - begin, residual.weight, residual.drafted, out);
  } else {
    masses_of(target_, begin, end, out);
    if (residual.weight != 1) {
      for (int64_t i = 0; i < end - begin; ++i) out[i] *= residual.weight;
    }
  }
  for (const auto& [id, mass] : scratch_.patches) {
    if (id >= begin && id < end) out[id - begin] = mass;
  }
}

double CpuRows::sum_of(const Residual& residual) {
  if (target_.one_hot >= 0) return weight(residual, target_.one_hot);
  if (residual.rejected >= 0) {
    const Residual& foreseen = scratch_.foreseen[residual.rejected];
    if (same(foreseen, residual)) return foreseen.sum;
  }
  return add_up(residual);
}

double CpuRows::add_up(const Residual& residual) {
  if (same(summed_, residual)) return summed_.sum;
  summed_ = residual;
  return summed_.sum = sum_anew(residual);
}

// The masses of this node are at hand, and a drawn child's would take their place: a sum over them
// now costs a quarter of what reading both rows again would.
void CpuRows::foresee(const Residual& residual, int32_t child) {
  const bool drawn = subtracts(residual.node) && !is_certain(play_, child);
  if (kept_ != residual.node || !drawn || !subtracts(child) || selected_) return;
  Residual next = without(residual, child, false);
  next.sum = sum_of(next);
  scratch_.foreseen[child] = next;
}

double CpuRows::sum_anew(const Residual& residual) {
  const bool sweep = subtracts_row(residual);
  const bool plain = !(residual.cap > 0) && !(selected_ && sweep);
  if (sweep) {
    keep();
  } else if (totalled_ != residual.node) {
    target_distribution(residual.node, nullptr);
  }
  find_patches(residual);
  scratch_.totals.resize(chunks_of(vocab()));
  std::vector<double>& totals = scratch_.totals;
  parallel_each_chunk(static_cast<int64_t>(totals.size()), [&](int64_t chunk) {
    totals[chunk] = sum_of_chunk(residual, chunk, sweep, plain);
  });
  double sum = 0;
  for (const double total : totals) sum += total;
  return sum;
}

double CpuRows::sum_of_chunk(const Residual& residual, int64_t chunk, bool sweep, bool plain) {
  const int64_t begin = chunk * kChunk, end = std::min<int64_t>(begin + kChunk, vocab());
  const auto patch_at = [&](int64_t id) {
    const auto before = [](const auto& patch, int64_t bound) { return patch.first < bound; };
    return std::lower_bound(scratch_.patches.begin(), scratch_.patches.end(), id, before);
  };
  const auto first_patch = patch_at(begin), last_patch = patch_at(end);
  const bool patched = first_patch != last_patch;
  if (plain && sweep && !patched) {
    return sweeps().residual_sum(pair_at(begin), end - begin, residual.weight, residual.drafted);
  }
  if (plain && !sweep) {  // only certain siblings took something: the distribution's own total but
                          // for that
    const double whole = residual.weight * (scratch_.reading.totals[chunk] * target_.inverse_total);
    double total = whole;
    for (auto at = first_patch; at != last_patch; ++at) {
      total -= residual.weight * mass(target_, at->first) - at->second;
    }
    if (!patched || total >= kThin * whole) return total;  // else rounding, mostly
  }
  double masses[kChunk];
  residual_masses(residual, begin, end, masses);
  return fold(masses, end - begin);
}

double CpuRows::draft_without(int32_t child) {
  keep();
  double sum = 0, masses[kChunk];
  for (int64_t begin = 0; begin < vocab(); begin += kChunk) {
    const int64_t end = std::min<int64_t>(begin + kChunk, vocab());
    const Pair rows = pair_at(begin);
    for (int64_t i = 0; i < end - begin; ++i) masses[i] = rows.draft[i] * rows.draft_scale;
    for (int32_t at = first_left_out(child); at >= 0 && at != child; at = next_sibling(at)) {
      if (token(at) >= begin && token(at) < end) masses[token(at) - begin] = 0;
    }
    sum += fold(masses, end - begin);
  }
  return sum;
}

double CpuRows::overlap_of(int32_t, double cap) {
  keep();
  double sum = 0;
  for (int64_t begin = 0; begin < vocab(); begin += kChunk) {
    const int64_t end = std::min<int64_t>(begin + kChunk, vocab());
    sum += sweeps().overlap(pair_at(begin), end - begin, cap);
  }
  return sum;
}

// In whole multiples of 2^-62, whose sums do not depend on their order.
void CpuRows::histogram_of(double* target, double* draft) {
  keep();
  uint64_t sums[2][kBuckets] = {};
  for (int64_t begin = 0; begin < vocab(); begin += kChunk) {
    const Pair rows = pair_at(begin);
    const int64_t count = std::min<int64_t>(kChunk, vocab() - begin);
    for (int64_t i = 0; i < count; ++i) {
      const double q = rows.draft[i] * rows.draft_scale, p = rows.target[i] * rows.target_scale;
      if (!(q > 0)) continue;
      const int bucket = bucket_of(p, q);
      sums[0][bucket] += static_cast<uint64_t>(p * 0x1p62);
      sums[1][bucket] += static_cast<uint64_t>(q * 0x1p62);
    }
  }
  for (int b = 0; b < kBuckets; ++b) {
    target[b] = static_cast<double>(sums[0][b]) * 0x1p-62;
    draft[b] = static_cast<double>(sums[1][b]) * 0x1p-62;
  }
}

int32_t CpuRows::pick_with(const Residual& residual, double uniform) {
  if (target_.one_hot >= 0) return target_.one_hot;
  const bool untouched = residual.rejected < 0 && !(residual.drafted > 0);
  if (!untouched && add_up(residual) > 0) {
    return pick_from(vocab(), scratch_.totals, uniform,
                     [&](int64_t begin, int64_t end, double* out) {
                       residual_masses(residual, begin, end, out);
                     });
  }
  if (totalled_ != residual.node) target_distribution(residual.node, nullptr);
  return pick_from_distribution(target_, scratch_.reading.totals, uniform);
}

void CpuRows::mark_spent(int32_t child, uint8_t spent) {
  summed_.node = -1;
  scratch_.spent[child] = spent;
}

void CpuRows::keep_child(int32_t node, int32_t child, const Selection& selection) {
  scratch_.first_child[node] = child;
  scratch_.next_sibling[child] = -1;
  scratch_.selections[node] = selection;
  summed_.node = -1;
  selected_ = true;
}

// A mass that merely underflowed is no mistake: the verifier then goes by the target alone.
void CpuRows::undrawable(int32_t child) {
  const SamplingParams& params = all_.draft_params(request_);
  const bool filtered = params.greedy() || params.top_k > 0 || params.top_p < 1 || params.min_p > 0;
  const bool finite = has_draft_ && logit_at(draft_, token(child)) > -INFINITY;
  if (finite && !filtered && !leaves_out(child, token(child))) return;
  throw Error(ErrorKind::kValue,
              "[verify] expected a draft token with mass in its own distribution, got " +
                  std::to_string(token(child)) + " without at request " + std::to_string(request_) +
                  ", node " + std::to_string(child) +
                  ": a token proposed for certain has a one_hot distribution");
}

}  // namespace anydraft::detail
