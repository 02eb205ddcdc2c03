// Which characters may stand beside each other inside a token. Where two neighbours never do, no
// merge crosses the place between them: the text may be cut there, and is encoded faster.
#pragma once

#include "vocab/tables.h"

namespace anydraft::detail {

// Pairs of ASCII exactly, then others by hash: a false "yes" only makes a piece longer.
constexpr size_t kAsciiJoins = 128 * 128, kHashedJoins = 1 << 20;
constexpr size_t kJoinBytes = (kAsciiJoins + kHashedJoins) / 8;

inline size_t join_bit(uint32_t left, uint32_t right) {
  if ((left | right) < 128) return left * 128 + right;
  const uint64_t hash = (static_cast<uint64_t>(left) << 21 | right) * 0x9E3779B97F4A7C15ull;
  return kAsciiJoins + (hash >> 44);
}

inline bool joins(const Tables& t, uint32_t left, uint32_t right) {
  const size_t bit = join_bit(left, right);
  return t.joins[bit / 8] >> (bit % 8) & 1;
}

}  // namespace anydraft::detail
