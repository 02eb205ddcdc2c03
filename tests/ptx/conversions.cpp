// Conversions between types, and between the parts of a register.
#include <cmath>
#include <limits>

#include "compute.h"

namespace ptx {
namespace {

// Floats to integers: rounds towards zero and saturates. NaN becomes 0; with 64 bits, only the top
// bit is set.
template <class To, class From>
To to_integer(From x) {
  if (x != x) return sizeof(To) == 8 ? static_cast<To>(uint64_t{1} << 63) : To{0};
  constexpr auto kLow = std::numeric_limits<To>::min(), kHigh = std::numeric_limits<To>::max();
  if (x <= static_cast<From>(kLow)) return kLow;
  if (x >= static_cast<From>(kHigh)) return kHigh;
  return static_cast<To>(x);
}
float of_half(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  float value;
  if (exponent == 31) {
    value = fraction ? std::nanf("") : INFINITY;
  } else {
    value = exponent ? std::ldexp(1024.0f + fraction, exponent - 25) : std::ldexp(fraction, -24);
  }
  return bits >> 15 ? -value : value;
}
struct Half {
  uint16_t bits;
};
// Registers may be wider than the types of a conversion. `bytes` and `count` say how wide.
template <class To, class From>
void convert(Lanes& lanes, const Instruction& i, uint32_t mask) {
  for_lanes(mask, [&](int l) {
    From a;
    if (i.bytes == 8) {
      a = unpack<From>(row64(lanes, i.s[0])[l]);
    } else {
      a = unpack<From>(row32(lanes, i.s[0])[l]);
    }
    To result;
    if constexpr (std::is_same_v<From, Half>) {
      result = of_half(a.bits);
    } else if constexpr (std::is_integral_v<To> && std::is_floating_point_v<From>) {
      result = to_integer<To>(a);
    } else {
      result = static_cast<To>(a);
    }
    if (i.count == 8) {
      if constexpr (std::is_integral_v<To>) {
        row64(lanes, i.d[0])[l] = static_cast<uint64_t>(static_cast<int64_t>(result));
      } else {
        row64(lanes, i.d[0])[l] = pack(result);
      }
    } else if constexpr (sizeof(To) < 8) {
      row32(lanes, i.d[0])[l] = pack(result);
    }
  });
}

void permute_bytes(Lanes& lanes, const Instruction& i, uint32_t mask) {
  for_lanes(mask, [&](int l) {
    const uint64_t bytes = row32(lanes, i.s[0])[l] | static_cast<uint64_t>(row32(lanes, i.s[1])[l])
                                                         << 32;
    const uint32_t how = row32(lanes, i.s[2])[l];
    uint32_t result = 0;
    for (int at = 0; at < 4; ++at) {
      const uint32_t pick = how >> 4 * at & 15;
      uint32_t byte = bytes >> 8 * (pick & 7) & 255;
      if (pick & 8) byte = byte & 128 ? 255 : 0;
      result |= byte << 8 * at;
    }
    row32(lanes, i.d[0])[l] = result;
  });
}
void insert_bits64(Lanes& lanes, const Instruction& i, uint32_t mask) {
  for_lanes(mask, [&](int l) {
    const uint32_t at = row32(lanes, i.s[2])[l] & 255, length = row32(lanes, i.s[3])[l] & 255;
    const uint64_t ones = length >= 64 ? ~uint64_t{0} : (uint64_t{1} << length) - 1;
    const uint64_t field = at >= 64 ? 0 : ones << at, from = row64(lanes, i.s[0])[l];
    row64(lanes, i.d[0])[l] =
        (row64(lanes, i.s[1])[l] & ~field) | (at >= 64 ? 0 : from << at & field);
  });
}
void pack_pair(Lanes& lanes, const Instruction& i, uint32_t mask) {
  for_lanes(mask, [&](int l) {
    row64(lanes, i.d[0])[l] =
        row32(lanes, i.s[0])[l] | static_cast<uint64_t>(row32(lanes, i.s[1])[l]) << 32;
  });
}
void unpack_pair(Lanes& lanes, const Instruction& i, uint32_t mask) {
  for_lanes(mask, [&](int l) {
    const uint64_t both = row64(lanes, i.s[0])[l];
    row32(lanes, i.d[0])[l] = static_cast<uint32_t>(both);
    row32(lanes, i.d[1])[l] = static_cast<uint32_t>(both >> 32);
  });
}
// Operations on two 16-bit floats in one register.
template <bool half, bool larger>
void extreme_of_pairs(Lanes& lanes, const Instruction& i, uint32_t mask) {
  const auto value = [](uint16_t bits) {
    return half ? of_half(bits) : unpack<float>(static_cast<uint32_t>(bits) << 16);
  };
  for_lanes(mask, [&](int l) {
    uint32_t result = 0;
    for (int at = 0; at < 32; at += 16) {
      const auto a = static_cast<uint16_t>(row32(lanes, i.s[0])[l] >> at);
      const auto b = static_cast<uint16_t>(row32(lanes, i.s[1])[l] >> at);
      const float x = value(a), y = value(b);
      uint32_t one;
      if (x != x || y != y) {
        one = 0x7fff;
      } else if (x == y) {
        one = larger ? a & b : a | b;  // both are zero
        if (x != 0) one = a;
      } else {
        one = (x > y) == larger ? a : b;
      }
      result |= one << at;
    }
    row32(lanes, i.d[0])[l] = result;
  });
}

}  // namespace

void add_conversions(Table& table) {
  table["prmt.b32"] = {permute_bytes, "w:www"};
  table["bfi.b64"] = {insert_bits64, "d:ddww"};
  table["mov.b64 pack"] = {pack_pair, "d:ww"};
  table["mov.b64 unpack"] = {unpack_pair, "ww:d"};
  table["min.NaN.f16x2"] = {extreme_of_pairs<true, false>, "w:ww"};
  table["max.NaN.f16x2"] = {extreme_of_pairs<true, true>, "w:ww"};
  table["min.NaN.bf16x2"] = {extreme_of_pairs<false, false>, "w:ww"};
  table["max.NaN.bf16x2"] = {extreme_of_pairs<false, true>, "w:ww"};
  table["cvt.f32.f16"] = {convert<float, Half>, "?:?"};
  table["cvt.f64.f32"] = {convert<double, float>, "?:?"};
  table["cvt.rn.f32.f64"] = {convert<float, double>, "?:?"};
  table["cvt.rzi.s32.f32"] = {convert<int32_t, float>, "?:?"};
  table["cvt.rzi.s64.f32"] = {convert<int64_t, float>, "?:?"};
  table["cvt.rzi.u64.f64"] = {convert<uint64_t, double>, "?:?"};
  table["cvt.rn.f32.s32"] = {convert<float, int32_t>, "?:?"};
  table["cvt.rn.f64.s32"] = {convert<double, int32_t>, "?:?"};
  table["cvt.rn.f64.s64"] = {convert<double, int64_t>, "?:?"};
  table["cvt.rn.f64.u64"] = {convert<double, uint64_t>, "?:?"};
  const auto integers = [&](const std::string& from, auto zero) {
    using From = decltype(zero);
    table["cvt.u16." + from] = {convert<uint16_t, From>, "?:?"};
    table["cvt.s16." + from] = {convert<int16_t, From>, "?:?"};
    table["cvt.u32." + from] = {convert<uint32_t, From>, "?:?"};
    table["cvt.s32." + from] = {convert<int32_t, From>, "?:?"};
    table["cvt.u64." + from] = {convert<uint64_t, From>, "?:?"};
    table["cvt.s64." + from] = {convert<int64_t, From>, "?:?"};
  };
  integers("u16", uint16_t{}), integers("s16", int16_t{});
  integers("u32", uint32_t{}), integers("s32", int32_t{});
  integers("u64", uint64_t{}), integers("s64", int64_t{});
}

}  // namespace ptx
