// What opcodes compute, a lane at a time, as a GPU does: one rounding a fused multiply-add,
// canonical NaNs, saturating conversions, clamped shifts.
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <unordered_map>

#include "program.h"

namespace ptx {
namespace {

using std::string;

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
// A shift's amount has 32 bits whatever is shifted.
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

// To integers by rounding towards zero: saturates; NaN is 0, or the top bit alone with 64 bits.
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
// Registers may be wider than the types of a conversion: bytes and count say how wide.
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
// Two 16-bit floats a register.
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
        one = larger ? a & b : a | b;  // of two zeros
        if (x != 0) one = a;
      } else {
        one = (x > y) == larger ? a : b;
      }
      result |= one << at;
    }
    row32(lanes, i.d[0])[l] = result;
  });
}

// ---- The table
// -----------------------------------------------------------------------------------
template <class T>
using Unsigned =
    std::conditional_t<std::is_integral_v<T>,
                       std::make_unsigned_t<std::conditional_t<std::is_integral_v<T>, T, int>>, T>;

// Without overflow that C++ leaves undefined.
#define OPERATION(Name, expression)            \
  struct Name {                                \
    template <class T>                         \
    T operator()(T first, T second) const {    \
      const Unsigned<T> a = first, b = second; \
      (void)a, (void)b;                        \
      return static_cast<T>(expression);       \
    }                                          \
  }
OPERATION(Add, a + b);
OPERATION(Subtract, a - b);
OPERATION(Multiply, a* b);
OPERATION(And, a& b);
OPERATION(Or, a | b);
OPERATION(Xor, a ^ b);
OPERATION(Least, first < second ? first : second);
OPERATION(Most, first > second ? first : second);
// Divided by zero: all bits, and of the smallest by -1 itself.
OPERATION(Divide, second == 0 ? static_cast<T>(-1)
                  : second == static_cast<T>(-1) && std::is_signed_v<T>
                      ? static_cast<T>(Unsigned<T>{0} - a)
                      : static_cast<T>(first / second));
OPERATION(Remainder, second == 0 ? first
                     : second == static_cast<T>(-1) && std::is_signed_v<T>
                         ? T{0}
                         : static_cast<T>(first % second));
OPERATION(Quotient, first / second);
OPERATION(Equal, first == second);
OPERATION(Not, ~a);
OPERATION(AndNot, a & ~b);
#undef OPERATION

struct NegateOf {
  template <class T>
  T operator()(T a) const {
    if constexpr (std::is_integral_v<T>) return static_cast<T>(Unsigned<T>{0} - Unsigned<T>(a));
    return -a;
  }
};
struct NotOf {
  template <class T>
  T operator()(T a) const {
    return static_cast<T>(~a);
  }
};
struct AbsoluteOf {
  template <class T>
  T operator()(T a) const {
    return std::fabs(a);
  }
};
struct SameOf {
  template <class T>
  T operator()(T a) const {
    return a;
  }
};
struct RoundedOf {
  float operator()(float a) const { return std::nearbyintf(a); }
};
struct ReciprocalOf {
  double operator()(double a) const { return 1.0 / a; }
};
struct Fused {
  template <class T>
  T operator()(T a, T b, T c) const {
    return std::fma(a, b, c);
  }
};
struct MultiplyAdd {
  template <class T>
  T operator()(T a, T b, T c) const {
    return static_cast<T>(Unsigned<T>(a) * Unsigned<T>(b) + Unsigned<T>(c));
  }
};
// Floats: -0 below 0; a NaN gives way, or with .NaN stays.
template <bool larger, bool keep_nan>
struct Extreme {
  template <class T>
  T operator()(T a, T b) const {
    if (a != a) return keep_nan ? a : b;
    if (b != b) return keep_nan ? b : a;
    if (a == b) return std::signbit(a) == larger ? b : a;
    return (a > b) == larger ? a : b;
  }
};

using Table = std::unordered_map<string, Meaning>;

template <class T>
constexpr const char* kUnaryOperands = kWide<T> ? "d:d" : "w:w";
template <class T>
constexpr const char* kBinaryOperands = kWide<T> ? "d:dd" : "w:ww";
template <class T>
constexpr const char* kTernaryOperands = kWide<T> ? "d:ddd" : "w:www";
template <class T>
constexpr const char* kSelectOperands = kWide<T> ? "d:ddp" : "w:wwp";
template <class T>
constexpr const char* kCompareOperands = kWide<T> ? "p:dd" : "p:ww";

#define COMPARISON(Name, expression)  \
  struct Name {                       \
    template <class T>                \
    bool operator()(T a, T b) const { \
      return expression;              \
    }                                 \
  }
COMPARISON(IsEqual, a == b);
COMPARISON(IsOther, a != b && !(a != a) && !(b != b));
COMPARISON(IsLess, a < b);
COMPARISON(IsAtMost, a <= b);
COMPARISON(IsMore, a > b);
COMPARISON(IsAtLeast, a >= b);
COMPARISON(IsEqualOrNan, !(a < b) && !(a > b));
COMPARISON(IsOtherOrNan, !(a == b));
COMPARISON(IsLessOrNan, !(a >= b));
COMPARISON(IsAtMostOrNan, !(a > b));
COMPARISON(IsMoreOrNan, !(a <= b));
COMPARISON(IsAtLeastOrNan, !(a < b));
#undef COMPARISON

template <class T>
void add_comparisons(Table& table, const string& type) {
  const char* kinds = kCompareOperands<T>;
  table["setp.eq." + type] = {compare<T, IsEqual>, kinds};
  table["setp.ne." + type] = {compare<T, IsOther>, kinds};
  table["setp.lt." + type] = {compare<T, IsLess>, kinds};
  table["setp.le." + type] = {compare<T, IsAtMost>, kinds};
  table["setp.gt." + type] = {compare<T, IsMore>, kinds};
  table["setp.ge." + type] = {compare<T, IsAtLeast>, kinds};
}
template <class T>
void add_floats(Table& table, const string& type) {
  add_comparisons<T>(table, type);
  const char* kinds = kCompareOperands<T>;
  table["setp.equ." + type] = {compare<T, IsEqualOrNan>, kinds};
  table["setp.neu." + type] = {compare<T, IsOtherOrNan>, kinds};
  table["setp.ltu." + type] = {compare<T, IsLessOrNan>, kinds};
  table["setp.leu." + type] = {compare<T, IsAtMostOrNan>, kinds};
  table["setp.gtu." + type] = {compare<T, IsMoreOrNan>, kinds};
  table["setp.geu." + type] = {compare<T, IsAtLeastOrNan>, kinds};
  table["add.rn." + type] = {binary<T, Add>, kBinaryOperands<T>};
  table["sub.rn." + type] = {binary<T, Subtract>, kBinaryOperands<T>};
  table["mul.rn." + type] = {binary<T, Multiply>, kBinaryOperands<T>};
  table["div.rn." + type] = {binary<T, Quotient>, kBinaryOperands<T>};
  table["fma.rn." + type] = {ternary<T, Fused>, kTernaryOperands<T>};
  table["neg." + type] = {unary<T, NegateOf>, kUnaryOperands<T>};
  table["abs." + type] = {unary<T, AbsoluteOf>, kUnaryOperands<T>};
  table["min." + type] = {binary<T, Extreme<false, false>>, kBinaryOperands<T>};
  table["max." + type] = {binary<T, Extreme<true, false>>, kBinaryOperands<T>};
  table["min.NaN." + type] = {binary<T, Extreme<false, true>>, kBinaryOperands<T>};
  table["max.NaN." + type] = {binary<T, Extreme<true, true>>, kBinaryOperands<T>};
}
template <class T>
void add_bits(Table& table, const string& type) {
  table["mov." + type] = {unary<T, SameOf>, kUnaryOperands<T>};
  table["selp." + type] = {select<T>, kSelectOperands<T>};
}
template <class T>
void add_integers(Table& table, const string& size) {
  using Negative = std::make_signed_t<T>;
  for (const string& type : {"b" + size, "u" + size, "s" + size}) {
    add_bits<T>(table, type);
    table["and." + type] = {binary<T, And>, kBinaryOperands<T>};
    table["or." + type] = {binary<T, Or>, kBinaryOperands<T>};
    table["xor." + type] = {binary<T, Xor>, kBinaryOperands<T>};
    table["not." + type] = {unary<T, NotOf>, kUnaryOperands<T>};
    table["add." + type] = {binary<T, Add>, kBinaryOperands<T>};
    table["sub." + type] = {binary<T, Subtract>, kBinaryOperands<T>};
    table["mul.lo." + type] = {binary<T, Multiply>, kBinaryOperands<T>};
    table["mad.lo." + type] = {ternary<T, MultiplyAdd>, kTernaryOperands<T>};
    table["shl." + type] = {shift<T, true>, kWide<T> ? "d:dw" : "w:ww"};
  }
  const auto both = [&](const string& type, auto zero) {
    using Typed = decltype(zero);
    add_comparisons<Typed>(table, type);
    table["min." + type] = {binary<Typed, Least>, kBinaryOperands<T>};
    table["max." + type] = {binary<Typed, Most>, kBinaryOperands<T>};
    table["div." + type] = {binary<Typed, Divide>, kBinaryOperands<T>};
    table["rem." + type] = {binary<Typed, Remainder>, kBinaryOperands<T>};
    table["shr." + type] = {shift<Typed, false>, kWide<T> ? "d:dw" : "w:ww"};
  };
  both("u" + size, T{});
  both("b" + size, T{});
  both("s" + size, Negative{});
  table["neg.s" + size] = {unary<Negative, NegateOf>, kUnaryOperands<T>};
}

Table make_table() {
  Table table;
  add_integers<uint16_t>(table, "16");
  add_integers<uint32_t>(table, "32");
  add_integers<uint64_t>(table, "64");
  add_floats<float>(table, "f32");
  add_floats<double>(table, "f64");
  add_bits<uint32_t>(table, "f32");  // bits stay as they are, NaNs too
  add_bits<uint64_t>(table, "f64");
  table["rcp.rn.f64"] = {unary<double, ReciprocalOf>, "d:d"};
  table["cvt.rni.f32.f32"] = {unary<float, RoundedOf>, "w:w"};
  table["mul.wide.u16"] = {multiply_wide<uint32_t, uint16_t>, "w:ww"};
  table["mul.wide.s16"] = {multiply_wide<int32_t, int16_t>, "w:ww"};
  table["mul.wide.u32"] = {multiply_wide<uint64_t, uint32_t>, "d:ww"};
  table["mul.wide.s32"] = {multiply_wide<int64_t, int32_t>, "d:ww"};
  table["prmt.b32"] = {permute_bytes, "w:www"};
  table["bfi.b64"] = {insert_bits64, "d:ddww"};
  table["mov.b64 pack"] = {pack_pair, "d:ww"};
  table["mov.b64 unpack"] = {unpack_pair, "ww:d"};
  table["mov.pred"] = {of_predicates<Or>, "p:p"};
  table["not.pred"] = {of_predicates<Not>, "p:p"};
  table["and.pred"] = {of_predicates<And>, "p:pp"};
  table["or.pred"] = {of_predicates<Or>, "p:pp"};
  table["xor.pred"] = {of_predicates<Xor>, "p:pp"};
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
  table["cvt.rn.f64.s32"] = {convert<double, int32_t>, "?:?"};
  table["cvt.rn.f64.s64"] = {convert<double, int64_t>, "?:?"};
  table["cvt.rn.f64.u64"] = {convert<double, uint64_t>, "?:?"};
  const auto integers = [&](const string& from, auto zero) {
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
  // Generic addresses are those of the spaces.
  for (const char* space : {"global", "local", "shared", "param"}) {
    table["cvta." + string(space) + ".u64"] = {unary<uint64_t, SameOf>, "d:d"};
    table["cvta.to." + string(space) + ".u64"] = {unary<uint64_t, SameOf>, "d:d"};
  }
  return table;
}

}  // namespace

const Meaning* meaning_of(const std::string& opcode) {
  static const Table table = make_table();
  const auto found = table.find(opcode);
  return found == table.end() ? nullptr : &found->second;
}

}  // namespace ptx
