// The hash tables inside Tables: bytes -> id, and pair of ids -> rank.
#pragma once

#include <cstring>
#include <string_view>

#include "vocab/tables.h"

namespace anydraft::detail {

// Of at most 8 bytes the key is one to one, given the length; of more it is a hash.
inline uint64_t piece_key(const char* bytes, size_t length) {
  const auto load4 = [](const char* at) {
    uint32_t word;
    std::memcpy(&word, at, 4);
    return static_cast<uint64_t>(word);
  };
  const auto load8 = [](const char* at) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    return word;
  };
  if (length < 4) {
    if (length == 0) return 0;
    const auto byte = [&](size_t i) {
      return static_cast<uint64_t>(static_cast<uint8_t>(bytes[i]));
    };
    return byte(0) | byte(length / 2) << 8 | byte(length - 1) << 16;
  }
  if (length <= 8) return load4(bytes) | load4(bytes + length - 4) << 32;
  uint64_t hash = load8(bytes + length - 8) * 0x9FB21C651E98DF25ull;
  for (size_t at = 0; at + 8 < length; at += 8) {
    hash = (hash ^ hash >> 29 ^ load8(bytes + at)) * 0xD6E8FEB86659FD93ull;
  }
  return hash ^ hash >> 32;
}

inline size_t piece_slot(uint64_t key, size_t length, size_t slots) {
  const uint64_t hash = (key ^ length * 0x9E3779B97F4A7C15ull) * 0xD6E8FEB86659FD93ull;
  return (hash ^ hash >> 32) & (slots - 1);
}

// kNoId: not among the pieces.
inline uint32_t find_piece(const Tables& t, const char* bytes, size_t length) {
  const uint64_t key = piece_key(bytes, length);
  for (size_t at = piece_slot(key, length, t.pieces.size);; at = (at + 1) & (t.pieces.size - 1)) {
    const PieceSlot& slot = t.pieces[at];
    if (slot.id == kNoId) return kNoId;
    if (slot.key != key || slot.length != length) continue;
    if (length <= 8 || std::memcmp(t.bytes.data + t.offsets[slot.id], bytes, length) == 0) {
      return slot.id;
    }
  }
}

constexpr uint64_t kNoPair = ~0ull;
constexpr uint32_t kNoRank = 0xFFFFFFFF;
constexpr int kIdBits = 20, kRankBits = 24;

inline size_t pair_slot(uint64_t pair, size_t slots) {
  const uint64_t hash = pair * 0x9E3779B97F4A7C15ull;
  return (hash ^ hash >> 32) & (slots - 1);
}

inline uint32_t find_pair(const Tables& t, uint32_t left, uint32_t right) {
  const uint64_t pair = static_cast<uint64_t>(left) << kIdBits | right;
  for (size_t at = pair_slot(pair, t.pairs.size);; at = (at + 1) & (t.pairs.size - 1)) {
    const uint64_t slot = t.pairs[at];
    if (slot >> kRankBits == pair) return slot & ((1u << kRankBits) - 1);
    if (slot == kNoPair) return kNoRank;
  }
}

}  // namespace anydraft::detail
