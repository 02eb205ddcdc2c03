#include "rows/cpu_rows.h"

#include <algorithm>

#include "anydraft/error.h"
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

// Index where the running sum first exceeds `left`, the last positive one where rounding makes the
// sum fall short (never an entry without mass); `left` becomes what remains at that entry.
int64_t pass(const double* weights, int64_t count, double& left) {
  int64_t last = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (!(weights[i] > 0)) continue;
    if (left < weights[i]) return i;
    left -= weights[i];
    last = i;
  }
  left = weights[last];
  return last;
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

CpuRows::CpuRows(const VerifyRequest& all, int64_t request)
    : all_(all), request_(request), base_(all.trees.offsets[request]) {
  const int32_t nodes = all.trees.offsets[request + 1] - base_;
  first_child_.assign(nodes, -1);
  next_sibling_.assign(nodes, -1);
  z_.assign(nodes, -1);
  for (int32_t node = nodes - 1; node > 0; --node) {  // backwards: siblings keep their order
    next_sibling_[node] = first_child_[parent(node)];
    first_child_[parent(node)] = node;
  }
}

CpuRows::Residual CpuRows::residual(int32_t node) {
  target_ = make_law(all_.target_logits, base_ + node, all_.sampling, &totals_);
  if (first_child_[node] >= 0 && !is_one_hot(first_child_[node])) load_draft_law(node);
  return {node, -1, 1.0};
}

void CpuRows::load_draft_law(int32_t node) {
  draft_ = make_law(all_.draft_logits, all_.laws.rows[base_ + node], all_.draft_sampling);
}

double CpuRows::weight(const Residual& residual, int32_t token) const {
  double r = mass(target_, token);
  if (residual.rejected < 0) return r;
  for (int32_t child = first_child_[residual.node]; child >= 0; child = next_sibling_[child]) {
    if (z_[child] >= 0) {
      if (is_one_hot(child)) {
        if (token == this->token(child)) r = 0;
      } else {
        r = std::max(r - z_[child] * mass(draft_, token), 0.0);
      }
    }
    if (child == residual.rejected) break;
  }
  return r;
}

double CpuRows::draft_mass(int32_t child) const {
  return is_one_hot(child) ? 1.0 : mass(draft_, token(child));
}

void CpuRows::reject(Residual& residual, int32_t child) {
  Residual next{residual.node, child, 0};
  z_[child] = residual.total;
  const bool one_hot = is_one_hot(child);
  if (one_hot) next.total = residual.total - weight(residual, token(child));
  if (!one_hot || next.total < kCancelled * residual.total) {
    next.total = 0;
    residual_totals(next);
    for (double total : totals_) next.total += total;
  }
  if (!(next.total > 0)) {  // rounding left nothing: this rejection changes nothing
    z_[child] = -1;
    next.total = residual.total;
  }
  residual = next;
}

bool CpuRows::accept(double numerator, double denominator, int32_t child) const {
  return coin_for(Purpose::kAccept, child) * denominator < numerator;
}

int32_t CpuRows::pick(const Residual& residual, int32_t node, Purpose purpose) {
  const double coin = coin_for(purpose, node);
  if (residual.rejected < 0) {
    return target_.one_hot >= 0 ? target_.one_hot : pick_from_law(target_, totals_, coin);
  }
  residual_totals(residual);
  return pick_from(vocab(), totals_, coin, [&](int64_t begin, int64_t end, double* out) {
    residual_masses(residual, begin, end, out);
  });
}

double CpuRows::coin_for(Purpose purpose, int32_t node) const {
  const CoinsView& coins = all_.coins;
  const double* given = purpose == Purpose::kAccept ? coins.accept : coins.pick;
  if (given) return given[base_ + node];
  CoinKey key;
  key.seed = coins.seed;
  key.request = coins.requests ? coins.requests[request_] : static_cast<uint32_t>(request_);
  key.position = coins.positions ? coins.positions[request_] : 0;
  key.node = static_cast<uint32_t>(node);
  key.purpose = purpose;
  if (purpose == Purpose::kTarget) {  // keyed by the place of the token alone, as plain decoding is
    for (int32_t at = node; at > 0; at = parent(at)) ++key.position;
    key.node = 0;
  }
  return coin(key);
}

void CpuRows::residual_masses(const Residual& residual, int64_t begin, int64_t end,
                              double* out) const {
  kernels().masses(target_, begin, end, out);
  if (residual.rejected < 0) return;
  double draft[kChunk];
  bool have_draft = false;
  for (int32_t child = first_child_[residual.node]; child >= 0; child = next_sibling_[child]) {
    if (z_[child] >= 0 && is_one_hot(child)) {
      const int32_t spent = token(child);
      if (spent >= begin && spent < end) out[spent - begin] = 0;
    } else if (z_[child] >= 0) {
      if (!have_draft) kernels().masses(draft_, begin, end, draft);
      have_draft = true;
      const double z = z_[child];
      for (int64_t i = 0; i < end - begin; ++i) out[i] = std::max(out[i] - z * draft[i], 0.0);
    }
    if (child == residual.rejected) break;
  }
}

void CpuRows::residual_totals(const Residual& residual) {
  double masses[kChunk];
  totals_.assign(chunks_of(vocab()), 0.0);
  for (size_t chunk = 0; chunk < totals_.size(); ++chunk) {
    const int64_t begin = static_cast<int64_t>(chunk) * kChunk;
    const int64_t end = std::min<int64_t>(begin + kChunk, vocab());
    residual_masses(residual, begin, end, masses);
    totals_[chunk] = fold(masses, end - begin);
  }
}

}  // namespace anydraft::detail
