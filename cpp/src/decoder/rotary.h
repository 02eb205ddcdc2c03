// Sines and cosines of rotary positions.
#pragma once

#include <cstdint>
#include <vector>

#include "decoder/config.h"

namespace anydraft::detail {

// Position p turns by p * frequency, times a factor of both sine and cosine. With longrope the
// frequencies of positions from `original_context` on are others: what a model computes whose calls
// are split there. (Dynamic scaling changes nothing below the context length.)
class Rotary {
 public:
  explicit Rotary(const Rope& rope);

  int64_t half() const { return static_cast<int64_t>(frequencies_.size()); }
  // Makes room for positions below `end`.
  void prepare(int64_t end);
  // [half], and behind them the sines, for a position that there is room for.
  const float* cosines(int64_t position) const { return &table_[position * 2 * half()]; }

 private:
  std::vector<float> frequencies_, far_;  // far: from border_ on
  int64_t border_ = INT64_MAX;
  float factor_ = 1;
  std::vector<float> table_;  // [positions][2][half]
};

}  // namespace anydraft::detail
