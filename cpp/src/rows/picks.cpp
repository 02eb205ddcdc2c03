#include "rows/picks.h"

#include "rows/chunks.h"

namespace anydraft::detail {

namespace {

// The tree of fold() over one line.
double fold_line(const double* values) {
  double lanes[kLanes / 2];
  for (int l = 0; l < kLanes / 2; ++l) lanes[l] = values[l] + values[l + kLanes / 2];
  for (int step = kLanes / 4; step > 0; step /= 2) {
    for (int l = 0; l < step; ++l) lanes[l] += lanes[l + step];
  }
  return lanes[0];
}

}  // namespace

double fold(const double* values, int64_t count) {
  double lanes[kLanes] = {};
  for (int64_t at = 0; at < count; at += kLanes) {
    const int64_t part = std::min<int64_t>(kLanes, count - at);
    for (int64_t l = 0; l < part; ++l) lanes[l] += values[at + l];
  }
  return fold_line(lanes);
}

int64_t pick_in_chunk(const double* masses, int64_t count, double share) {
  double groups[kChunk / kLanes];
  const int64_t group_count = (count + kLanes - 1) / kLanes;
  double total = 0;
  for (int64_t g = 0; g < group_count; ++g) {
    const double* line = masses + g * kLanes;
    groups[g] = (g + 1) * kLanes <= count ? fold_line(line) : fold(line, count - g * kLanes);
    total += groups[g];
  }
  double left = share * total;
  const int64_t group = pass(groups, group_count, left);
  const int64_t begin = group * kLanes;
  return begin + pass(masses + begin, std::min<int64_t>(kLanes, count - begin), left);
}

int32_t pick_from_distribution(const Distribution& distribution, const std::vector<double>& totals,
                               double uniform) {
  return pick_from(
      distribution.size, totals, uniform,
      [&](int64_t begin, int64_t end, double* out) { masses_of(distribution, begin, end, out); });
}

}  // namespace anydraft::detail
