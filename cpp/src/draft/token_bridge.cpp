#include "draft/token_bridge.h"

#include <cmath>

#include "bridge/tli.h"

namespace anydraft {

// Logits over the target's ids, -inf where the drafter has none.
std::vector<float> TokenBridge::over_target(const RowsView& rows, int64_t row) const {
  const int64_t width = round_.draft.width;
  if (round_.pair.across()) {
    return detail::project(rows, row, *round_.pair.map, width, round_.sampling);
  }
  std::vector<float> logits(width, -INFINITY);
  for (int64_t i = 0; i < rows.cols; ++i) logits[i] = detail::load(rows.row(row), rows.dtype, i);
  return logits;
}

Expansion TokenBridge::draw(int32_t, int32_t width, const RowsView& rows, int64_t row,
                            int32_t number) {
  Expansion drawn;
  drawn.distribution = over_target(rows, row);
  if (!detail::has_mass(drawn.distribution)) return {};  // nothing on the shared tokens: a leaf
  const int64_t cols = round_.draft.width;
  const RowsView logits{drawn.distribution.data(), DType::kFloat32, 1, cols, cols, row};
  round_.draw_from(logits, 0, round_.sampling, width, number, drawn);
  drawn.fed_as = drawn.children;
  if (!round_.pair.across()) return drawn;
  for (int32_t& id : drawn.fed_as) id = detail::drafter_id(rows, row, *round_.pair.map, id);
  return drawn;
}

}  // namespace anydraft
