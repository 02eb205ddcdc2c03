#include "draft/token_bridge.h"

namespace anydraft {

DrawTask TokenBridge::task(int32_t node, int32_t width, const RowView& row, int32_t number) const {
  DrawTask task = DraftBridge::task(node, width, row, number);
  const Pair& pair = round_.pair;
  if (pair.across())
    task.projection = &pair.projection(false, round_.pair.target->size(), row.cols);
  return task;
}

}  // namespace anydraft
