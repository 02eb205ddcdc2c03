#pragma once

#include <cstdint>
#include <cstring>

namespace anydraft::detail {

// 64 bits that notice damage, not malice. Every step is a bijection of the lane it changes, so a
// change of up to eight neighbouring aligned bytes never goes unseen; others pass one time in 2^64.
inline uint64_t checksum(const char* data, size_t size) {
  constexpr uint64_t kOdd = 0x9E3779B97F4A7C15u, kOther = 0xD6E8FEB86659FD93u;
  const auto step = [](uint64_t lane, uint64_t word) {
    lane = (lane ^ word) * kOdd;
    return lane ^ (lane >> 29);
  };
  uint64_t lanes[4] = {1, 2, 3, 4};
  size_t at = 0;
  for (; at + 32 <= size; at += 32) {
    uint64_t words[4];
    std::memcpy(words, data + at, 32);
    for (int i = 0; i < 4; ++i) lanes[i] = step(lanes[i], words[i]);
  }
  for (int i = 0; at < size; ++i, at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, data + at, size - at < 8 ? size - at : 8);
    lanes[i] = step(lanes[i], word);
  }
  uint64_t sum = size * kOther;
  for (uint64_t lane : lanes) sum = step(sum, lane);
  return sum;
}

}  // namespace anydraft::detail
