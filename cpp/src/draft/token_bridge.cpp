#include "draft/token_bridge.h"

namespace anydraft {

Expansion TokenBridge::draw(int32_t, int32_t width, const RowsView& rows, int64_t row,
                            int32_t number) {
  const bool across = round_.pair.across();
  auto own = std::make_unique<DraftRow>();
  own->logits = rows.at(row);
  if (across) own->projection = &round_.pair.projection(false, round_.vocab(), rows.cols);
  prepare(*own, round_.sampling);
  Expansion drawn;
  round_.draw_from(std::move(own), round_.sampling, width, number, drawn);
  if (drawn.children.empty()) return {};  // nothing on the shared tokens: a leaf
  drawn.fed_as = drawn.children;
  if (!across) return drawn;
  for (int32_t& id : drawn.fed_as) id = drafter_id(*drawn.row, id);
  return drawn;
}

}  // namespace anydraft
