#include "decoder/matrix_round.h"

#include "anydraft/error.h"

namespace anydraft::detail {
namespace {

uint32_t bits_of(float x) { return read_as<uint32_t>(&x); }

uint16_t checked_half(float x) {
  if (std::fabs(x) > 65504) {
    throw Error(ErrorKind::kValue,
                "[WeightMatrix::from_float] expected scales and offsets below 65504 for float16, "
                "got weights beyond");
  }
  return float16_of(x);
}

int code_of(float steps, int last) {
  return static_cast<int>(
      std::min(std::max(std::nearbyint(steps), 0.0f), static_cast<float>(last)));
}

// A straight line over the codes 0 ... 15, in float16.
struct Line {
  uint16_t scale, offset;
  uint8_t codes[128];
  double error;
};

Line fit(const float* w, int count, float scale, float offset) {
  Line line{checked_half(scale), checked_half(offset), {}, 0};
  const float step = float_from_float16(line.scale), from = float_from_float16(line.offset);
  for (int k = 0; k < count; ++k) {
    const int code = step != 0 ? code_of((w[k] - from) / step, 15) : 0;
    const float off = static_cast<float>(code) * step + from - w[k];
    line.codes[k] = static_cast<uint8_t>(code);
    line.error += static_cast<double>(off) * off;
  }
  return line;
}

// The line of least squares through what got the same codes.
Line refit(const Line& line, const float* w, int count) {
  double sum = 0, squares = 0, weights = 0, mixed = 0;
  for (int k = 0; k < count; ++k) {
    const double code = line.codes[k], weight = w[k];
    sum += code;
    squares += code * code;
    weights += weight;
    mixed += code * weight;
  }
  const double spread = squares * count - sum * sum;
  if (spread <= 0) return line;
  const double scale = (mixed * count - sum * weights) / spread;
  return fit(w, count, static_cast<float>(scale),
             static_cast<float>((weights - scale * sum) / count));
}

void round_u4(const float* w, int count, int group, Span& span, uint8_t* codes) {
  const auto ends = std::minmax_element(w, w + count);
  Line best = fit(w, count, (*ends.second - *ends.first) / 15, *ends.first);
  for (int step = 0; step < 3; ++step) {
    const Line next = refit(best, w, count);
    if (next.error >= best.error) break;
    best = next;
  }
  span.scales[group] = best.scale;
  span.offsets[group] = best.offset;
  std::copy_n(best.codes, count, codes);
}

void round_i8(const float* w, int count, float scale, uint8_t* codes) {
  for (int k = 0; k < count; ++k) {
    codes[k] = static_cast<uint8_t>(scale != 0 ? code_of(w[k] / scale + 128, 255) : 128);
  }
}

}  // namespace

void round_span(const Layout& layout, const float* weights, int count, float row_scale,
                Span& span) {
  if (layout.scale == Scale::kRow) return round_i8(weights, count, row_scale, span.codes);
  for (int k = 0; k < count; k += layout.group) {
    const int size = std::min(layout.group, count - k), group = k / layout.group;
    if (layout.scale == Scale::kHalfOffset) {
      round_u4(weights + k, size, group, span, span.codes + k);
      continue;
    }
    float largest = 0;
    for (int i = k; i < k + size; ++i) largest = std::max(largest, std::fabs(weights[i]));
    span.scales[group] = checked_half(largest / 127);
    round_i8(weights + k, size, float_from_float16(span.scales[group]), span.codes + k);
  }
}

uint16_t bfloat16_of(float x) {
  const uint32_t bits = bits_of(x);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

uint16_t float16_of(float x) {
  // Scaled, float32's exponent and subnormals are float16's.
  const uint32_t bits = bits_of(std::fabs(x) * 0x1p-112f);
  const uint32_t sign = std::signbit(x) ? 0x8000 : 0;
  return static_cast<uint16_t>(sign | (bits + 0xfff + (bits >> 13 & 1)) >> 13);
}

}  // namespace anydraft::detail
