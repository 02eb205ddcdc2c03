// The double array of a model's words: one load a byte. The child of a node by `byte` is the unit
// at base(node) ^ byte, if that unit's label is `byte`; no two nodes have the same base.
#pragma once

#include "vocab/tables.h"

namespace anydraft::detail {

constexpr int kLabelBits = 9, kBaseBits = 23, kHintBits = 12, kWordBits = 20;
constexpr uint64_t kMostUnits = 1u << kBaseBits;

// A unit, from the lowest bit: its label + 1, its base (without children: 0, which no other node
// has), a hint at its children, the id + 1 of the word that ends there (0: none). 0 is a free unit.
inline uint64_t make_unit(uint32_t word, uint32_t hint, uint64_t base, uint32_t label) {
  return (((uint64_t{word} << kHintBits | hint) << kBaseBits) | base) << kLabelBits | label;
}
inline uint32_t word_of(uint64_t unit) { return static_cast<uint32_t>(unit >> (64 - kWordBits)); }
inline uint32_t label_of(uint64_t unit) { return unit & ((1u << kLabelBits) - 1); }
inline uint32_t base_of(uint64_t unit) { return static_cast<uint32_t>(unit) >> kLabelBits; }

// One bit of the hint for each byte: where it is 0, no child has that label. Most searches end so,
// without a look at a unit that is somebody else's.
inline uint32_t hint_of(uint8_t byte) { return 1u << byte % kHintBits; }
inline bool may_have(uint64_t unit, uint8_t byte) {
  return (static_cast<uint32_t>(unit >> 32) & hint_of(byte)) != 0;
}

// The child of `unit`; 0: none, and none has no children. No branch depends on it.
inline uint64_t child_of(const uint64_t* units, uint64_t unit, uint8_t byte) {
  const uint64_t child = units[base_of(unit) ^ byte];
  const int64_t other = static_cast<int64_t>(label_of(child) ^ (byte + 1u));  // 0: the same label
  return child & static_cast<uint64_t>((other - 1) >> 63);
}

}  // namespace anydraft::detail
