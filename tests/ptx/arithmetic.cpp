// What opcodes compute, as on a GPU: a fused multiply-add rounds once, NaNs are canonical, shifts
// are clamped.
#include <cmath>

#include "compute.h"

namespace ptx {
namespace {

using std::string;

template <class T>
using Unsigned =
    std::conditional_t<std::is_integral_v<T>,
                       std::make_unsigned_t<std::conditional_t<std::is_integral_v<T>, T, int>>, T>;

// Computed in unsigned types, since signed overflow is undefined in C++.
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
OPERATION(Multiply, 1u * a * b);
OPERATION(And, a& b);
OPERATION(Or, a | b);
OPERATION(Xor, a ^ b);
OPERATION(Least, first < second ? first : second);
OPERATION(Most, first > second ? first : second);
// Division by zero gives all ones; the smallest number divided by -1 gives itself.
OPERATION(Divide, second == 0 ? static_cast<T>(-1)
                  : second == static_cast<T>(-1) && std::is_signed_v<T>
                      ? static_cast<T>(Unsigned<T>{0} - a)
                      : static_cast<T>(first / second));
OPERATION(Remainder, second == 0 ? first
                     : second == static_cast<T>(-1) && std::is_signed_v<T>
                         ? T{0}
                         : static_cast<T>(first % second));
OPERATION(Quotient, first / second);
OPERATION(Not, ~a);
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
    return static_cast<T>(1u * Unsigned<T>(a) * Unsigned<T>(b) + Unsigned<T>(c));
  }
};
// Minimum and maximum of floats: -0 is below 0. A NaN loses, or with .NaN wins.
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
  table["mov.pred"] = {of_predicates<Or>, "p:p"};
  table["not.pred"] = {of_predicates<Not>, "p:p"};
  table["and.pred"] = {of_predicates<And>, "p:pp"};
  table["or.pred"] = {of_predicates<Or>, "p:pp"};
  table["xor.pred"] = {of_predicates<Xor>, "p:pp"};
  add_conversions(table);
  // A generic address equals the address within its space.
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
