// Rounding of float weights to the formats of our own.
#include <algorithm>
#include <cmath>

#include "anydraft/error.h"
#include "decoder/matrix_pack.h"

namespace anydraft::detail {
namespace {

// To nearest, ties to even, for finite x.
uint16_t float16_of(float x) {
  if (std::fabs(x) > 65504) {
    throw Error(ErrorKind::kValue,
                "[WeightMatrix::from_float] expected scales and offsets below 65504 for float16, "
                "got weights beyond");
  }
  // Scaled, float32's exponent and subnormals are float16's.
  const float scaled = std::fabs(x) * 0x1p-112f;
  const uint32_t bits = read_as<uint32_t>(&scaled), sign = std::signbit(x) ? 0x8000 : 0;
  return static_cast<uint16_t>(sign | (bits + 0xfff + (bits >> 13 & 1)) >> 13);
}

// The nearest whole number of 0 ... last; the sum with 1.5 * 2^23 has no fraction.
inline float nearest(float steps, float last) {
  return std::min(std::max(steps, 0.0f), last) + 12582912.0f - 12582912.0f;
}

// A straight line over the codes 0 ... 15, in float16. Sums run in 8 lanes for the compiler's sake.
constexpr int kLanes = 8;
struct Line {
  uint16_t scale, offset;
  float codes[128];
  float error;
};

float total(const float* lanes) {
  float sum = 0;
  for (int j = 0; j < kLanes; ++j) sum += lanes[j];
  return sum;
}

void fit(const float* w, int count, float scale, float offset, Line* line) {
  line->scale = float16_of(scale);
  line->offset = float16_of(offset);
  const float step = float_from_float16(line->scale), from = float_from_float16(line->offset);
  const float per_step = step != 0 ? 1 / step : 0;
  float errors[kLanes] = {};
  for (int k = 0; k < count; k += kLanes) {
    for (int j = k; j < k + kLanes; ++j) {
      line->codes[j] = nearest((w[j] - from) * per_step, 15);
      const float off = line->codes[j] * step + from - w[j];
      errors[j - k] += off * off;
    }
  }
  line->error = total(errors);
}

// The line of least squares through what got the same codes. False where one code holds all.
bool refit(const Line& line, const float* w, int count, Line* better) {
  float codes[kLanes] = {}, squares[kLanes] = {}, weights[kLanes] = {}, mixed[kLanes] = {};
  for (int k = 0; k < count; k += kLanes) {
    for (int j = 0; j < kLanes; ++j) {
      const float code = line.codes[k + j], weight = w[k + j];
      codes[j] += code;
      squares[j] += code * code;
      weights[j] += weight;
      mixed[j] += code * weight;
    }
  }
  const float n = static_cast<float>(count), sum = total(codes), all = total(weights);
  const float spread = total(squares) * n - sum * sum;
  if (spread <= 0) return false;
  const float scale = (total(mixed) * n - sum * all) / spread;
  fit(w, count, scale, (all - scale * sum) / n, better);
  return better->error < line.error;
}

void round_u4(const float* weights, int count, int group, Span& span, uint8_t* codes) {
  float w[128];  // filled up with the last one
  const int lanes = (count + kLanes - 1) / kLanes * kLanes;
  for (int k = 0; k < lanes; ++k) w[k] = weights[std::min(k, count - 1)];
  const auto ends = std::minmax_element(w, w + lanes);
  Line best, next;
  fit(w, lanes, (*ends.second - *ends.first) / 15, *ends.first, &best);
  for (int step = 0; step < 3 && refit(best, w, lanes, &next); ++step) best = next;
  span.scales[group] = best.scale;
  span.offsets[group] = best.offset;
  for (int k = 0; k < count; ++k) codes[k] = static_cast<uint8_t>(best.codes[k]);
}

void round_i8(const float* w, int count, float scale, uint8_t* codes) {
  const float per_step = scale != 0 ? 1 / scale : 0;
  for (int k = 0; k < count; ++k) {
    codes[k] = static_cast<uint8_t>(nearest(w[k] * per_step + 128, 255));
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
    span.scales[group] = float16_of(largest / 127);
    round_i8(weights + k, size, float_from_float16(span.scales[group]), span.codes + k);
  }
}

uint16_t bfloat16_of(float x) {
  const uint32_t bits = read_as<uint32_t>(&x);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace anydraft::detail
