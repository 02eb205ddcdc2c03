#include "bridge/tli.h"

#include <algorithm>
#include <cmath>

#include "anydraft/error.h"

namespace anydraft::detail {
namespace {

// How many of the ids, which ascend, lie in a row.
int32_t ids_below(const TokenIds& ids, int64_t cols) {
  return static_cast<int32_t>(std::lower_bound(ids.begin(), ids.end(), cols) - ids.begin());
}

}  // namespace

std::vector<float> project(const RowsView& rows, int64_t index, const VocabularyMap& map,
                           int64_t width, const SamplingParams& params) {
  const void* row = rows.row(index);
  std::vector<float> out(width, -INFINITY);
  const int64_t cols = std::min<int64_t>(rows.cols, static_cast<int64_t>(map.to_target.size()));
  for (int64_t id = 0; id < cols; ++id) {
    const float x = load(row, rows.dtype, id);
    if (std::isnan(x) || x == INFINITY) {
      throw Error(ErrorKind::kNonFiniteLogits,
                  "[TLI] expected finite drafter logits, got NaN or +inf at token " +
                      std::to_string(id) + " in row " + std::to_string(index));
    }
    const int32_t target = map.to_target[id];
    if (target >= 0 && target < width) out[target] = x;
  }
  const float scale = scale_of(params.temperature);
  for (const auto& [target, ids] : map.merged) {
    if (target >= width) continue;
    out[target] = merged_logit(row, rows.dtype, ids.data(), ids_below(ids, cols), scale);
  }
  return out;
}

int32_t drafter_id(const RowsView& rows, int64_t index, const VocabularyMap& map, int32_t target) {
  int32_t best = map.to_draft[target];
  const auto found = std::lower_bound(
      map.merged.begin(), map.merged.end(), target,
      [](const std::pair<int32_t, TokenIds>& entry, int32_t id) { return entry.first < id; });
  if (found == map.merged.end() || found->first != target) return best;
  float largest = -INFINITY;
  for (int32_t id : found->second) {
    const float x = id < rows.cols ? load(rows.row(index), rows.dtype, id) : -INFINITY;
    if (x > largest) largest = x, best = id;
  }
  return best;
}

bool has_mass(const std::vector<float>& logits) {
  return std::any_of(logits.begin(), logits.end(), [](float x) { return x != -INFINITY; });
}

}  // namespace anydraft::detail
