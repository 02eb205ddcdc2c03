// Applies an opcode to lanes, given what it does to one lane.
#pragma once

#include <cstring>
#include <type_traits>
#include <unordered_map>

#include "program.h"

namespace ptx {

using Table = std::unordered_map<std::string, Meaning>;
void add_conversions(Table& table);

template <class T>
constexpr bool kWide = sizeof(T) == 8;
template <class T>
using Bits = std::conditional_t<sizeof(T) == 8, uint64_t,
                                std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t>>;
template <class T>
using Slot = std::conditional_t<kWide<T>, uint64_t, uint32_t>;

template <class T>
Slot<T>* row(Lanes& lanes, Operand at) {
  if constexpr (kWide<T>) {
    return row64(lanes, at);
  } else {
    return row32(lanes, at);
  }
}
template <class T, class From>
T unpack(From slot) {
  const auto bits = static_cast<Bits<T>>(slot);
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
template <class T>
Slot<T> pack(T value) {
  Bits<T> bits;
  std::memcpy(&bits, &value, sizeof bits);
  if constexpr (std::is_floating_point_v<T>) {
    constexpr auto kNan = static_cast<Bits<T>>(~Bits<T>{0} >> 1);
    if (value != value) bits = kNan;
  }
  return bits;
}

template <class T, class F>
void unary(Lanes& lanes, const Instruction& i, uint32_t mask) {
  auto* d = row<T>(lanes, i.d[0]);
  const auto* a = row<T>(lanes, i.s[0]);
  for_lanes(mask, [&](int l) { d[l] = pack<T>(F{}(unpack<T>(a[l]))); });
}
template <class T, class F>
void binary(Lanes& lanes, const Instruction& i, uint32_t mask) {
  auto* d = row<T>(lanes, i.d[0]);
  const auto *a = row<T>(lanes, i.s[0]), *b = row<T>(lanes, i.s[1]);
  for_lanes(mask, [&](int l) { d[l] = pack<T>(F{}(unpack<T>(a[l]), unpack<T>(b[l]))); });
}
template <class T, class F>
void ternary(Lanes& lanes, const Instruction& i, uint32_t mask) {
  auto* d = row<T>(lanes, i.d[0]);
  const auto *a = row<T>(lanes, i.s[0]), *b = row<T>(lanes, i.s[1]), *c = row<T>(lanes, i.s[2]);
  for_lanes(mask,
            [&](int l) { d[l] = pack<T>(F{}(unpack<T>(a[l]), unpack<T>(b[l]), unpack<T>(c[l]))); });
}
// The amount of a shift has 32 bits, whatever the type that is shifted.
template <class T, bool left>
void shift(Lanes& lanes, const Instruction& i, uint32_t mask) {
  auto* d = row<T>(lanes, i.d[0]);
  const auto* a = row<T>(lanes, i.s[0]);
  const uint32_t* by = row32(lanes, i.s[1]);
  constexpr uint32_t kBits = 8 * sizeof(T);
  for_lanes(mask, [&](int l) {
    const T x = unpack<T>(a[l]);
    const uint32_t n = by[l];
    if (left) {
      d[l] = pack<T>(n >= kBits ? T{0} : static_cast<T>(static_cast<Bits<T>>(x) << n));
    } else {
      d[l] = pack<T>(n >= kBits ? static_cast<T>(x < 0 ? -1 : 0) : static_cast<T>(x >> n));
    }
  });
}
template <class To, class T>
void multiply_wide(Lanes& lanes, const Instruction& i, uint32_t mask) {
  auto* d = row<To>(lanes, i.d[0]);
  const auto *a = row<T>(lanes, i.s[0]), *b = row<T>(lanes, i.s[1]);
  for_lanes(mask, [&](int l) {
    d[l] = pack<To>(static_cast<To>(To{unpack<T>(a[l])} * To{unpack<T>(b[l])}));
  });
}
template <class T, class F>
void compare(Lanes& lanes, const Instruction& i, uint32_t mask) {
  const auto *a = row<T>(lanes, i.s[0]), *b = row<T>(lanes, i.s[1]);
  uint32_t holds = 0;
  for_lanes(mask, [&](int l) {
    holds |= static_cast<uint32_t>(F{}(unpack<T>(a[l]), unpack<T>(b[l]))) << l;
  });
  set_predicate(lanes, i.d[0], mask, holds);
}
template <class T>
void select(Lanes& lanes, const Instruction& i, uint32_t mask) {
  auto* d = row<T>(lanes, i.d[0]);
  const auto *a = row<T>(lanes, i.s[0]), *b = row<T>(lanes, i.s[1]);
  const uint32_t first = predicate(lanes, i.s[2]);
  for_lanes(mask, [&](int l) { d[l] = (first >> l & 1) ? a[l] : b[l]; });
}
template <class F>
void of_predicates(Lanes& lanes, const Instruction& i, uint32_t mask) {
  set_predicate(lanes, i.d[0], mask,
                F{}(predicate(lanes, i.s[0]), i.count > 1 ? predicate(lanes, i.s[1]) : 0u));
}

}  // namespace ptx
