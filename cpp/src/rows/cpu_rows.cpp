#include "rows/cpu_rows.h"

#include <algorithm>

#include "rows/kernels.h"

namespace anydraft::detail {
namespace {

// Sum in the fixed order: 32 lanes, then their tree.
double fold(const double* values, int64_t count) {
  double lanes[kLanes] = {};
  for (int64_t at = 0; at < count; at += kLanes) {
    const int64_t part = std::min<int64_t>(kLanes, count - at);
    for (int64_t l = 0; l < part; ++l) lanes[l] += values[at + l];
  }
  for (int step = kLanes / 2; step > 0; step /= 2) {
    for (int l = 0; l < step; ++l) lanes[l] += lanes[l + step];
  }
  return lanes[0];
}

// Two levels: groups of 32 entries, then an entry, so that a warp can do the same.
int64_t pick_in_chunk(const double* masses, int64_t count, double share) {
  double groups[kChunk / kLanes];
  const int64_t group_count = (count + kLanes - 1) / kLanes;
  double total = 0;
  for (int64_t g = 0; g < group_count; ++g) {
    groups[g] = fold(masses + g * kLanes, std::min<int64_t>(kLanes, count - g * kLanes));
    total += groups[g];
  }
  double left = share * total;
  const int64_t group = pass(groups, group_count, left);
  const int64_t begin = group * kLanes;
  return begin + pass(masses + begin, std::min<int64_t>(kLanes, count - begin), left);
}

// `masses_of(begin, end, out)` gives a chunk's masses; `totals` the chunk totals at any scale.
template <class Masses>
int32_t pick_from(int64_t size, const std::vector<double>& totals, double coin, Masses masses_of) {
  double sum = 0;
  for (double total : totals) sum += total;
  double left = coin * sum;
  const int64_t chunk = pass(totals.data(), static_cast<int64_t>(totals.size()), left);
  const int64_t begin = chunk * kChunk, end = std::min<int64_t>(begin + kChunk, size);
  double masses[kChunk];
  masses_of(begin, end, masses);
  return static_cast<int32_t>(begin + pick_in_chunk(masses, end - begin, left / totals[chunk]));
}

}  // namespace

int32_t pick_from_law(const Law& law, const std::vector<double>& totals, double coin) {
  return pick_from(law.size, totals, coin, [&](int64_t begin, int64_t end, double* out) {
    kernels().masses(law, begin, end, out);
  });
}

void link_children(const int32_t* parents, int32_t nodes, int32_t* first_child,
                   int32_t* next_sibling) {
  for (int32_t node = 0; node < nodes; ++node) first_child[node] = next_sibling[node] = -1;
  for (int32_t node = nodes - 1; node > 0; --node) {  // backwards: siblings keep their order
    next_sibling[node] = first_child[parents[node]];
    first_child[parents[node]] = node;
  }
}

CpuRows::CpuRows(const VerifyRequest& all, int64_t request)
    : all_(all), base_(all.trees.offsets[request]) {
  const int32_t nodes = all.trees.offsets[request + 1] - base_;
  first_child_.resize(nodes);
  next_sibling_.resize(nodes);
  z_.assign(nodes, -1);
  link_children(all.trees.parents + base_, nodes, first_child_.data(), next_sibling_.data());
  const CoinsView& coins = all.coins;
  play_ = {all.trees.tokens + base_,
           all.trees.parents + base_,
           first_child_.data(),
           next_sibling_.data(),
           all.laws.kinds + base_,
           z_.data(),
           coins.accept ? coins.accept + base_ : nullptr,
           coins.pick ? coins.pick + base_ : nullptr,
           coins.seed,
           coins.requests ? coins.requests[request] : static_cast<uint32_t>(request),
           coins.positions ? coins.positions[request] : 0};
}

void CpuRows::load(int32_t node) {
  target_ = make_law(all_.target_logits, base_ + node, all_.sampling, &totals_);
  if (first_child(node) >= 0 && play_.kinds[node] == LawKind::kRow) {
    draft_ = make_law(all_.draft_logits, all_.laws.rows[base_ + node], all_.draft_sampling);
  }
}

double CpuRows::total_of(const Residual& residual) {
  double masses[kChunk];
  totals_.assign(chunks_of(vocab()), 0.0);
  totals_for_ = residual.rejected;
  double sum = 0;
  for (size_t chunk = 0; chunk < totals_.size(); ++chunk) {
    const int64_t begin = static_cast<int64_t>(chunk) * kChunk;
    const int64_t end = std::min<int64_t>(begin + kChunk, vocab());
    residual_masses(residual, begin, end, masses);
    totals_[chunk] = fold(masses, end - begin);
    sum += totals_[chunk];
  }
  return sum;
}

int32_t CpuRows::pick_with(const Residual& residual, double coin) {
  if (residual.rejected < 0) {
    return target_.one_hot >= 0 ? target_.one_hot : pick_from_law(target_, totals_, coin);
  }
  if (totals_for_ != residual.rejected) total_of(residual);
  return pick_from(vocab(), totals_, coin, [&](int64_t begin, int64_t end, double* out) {
    residual_masses(residual, begin, end, out);
  });
}

// residual_mass of detail/play.h over a range, with the rows' masses computed in vectors.
void CpuRows::residual_masses(const Residual& residual, int64_t begin, int64_t end,
                              double* out) const {
  kernels().masses(target_, begin, end, out);
  if (residual.rejected < 0) return;
  double draft[kChunk];
  bool have_draft = false;
  for (int32_t child = first_child(residual.node); child >= 0; child = next_sibling(child)) {
    const double z = z_[child];
    if (z >= 0 && is_one_hot(play_, child)) {
      const int32_t spent = token(child);
      if (spent >= begin && spent < end) out[spent - begin] = 0;
    } else if (z >= 0) {
      if (!have_draft) kernels().masses(draft_, begin, end, draft);
      have_draft = true;
      for (int64_t i = 0; i < end - begin; ++i) out[i] = std::max(out[i] - z * draft[i], 0.0);
    }
    if (child == residual.rejected) break;
  }
}

}  // namespace anydraft::detail
