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
                "[WeightMatrix::rounded] expected scales and offsets below 65504 for float16, "
                "got weights beyond");
  }
  // Scaled, float32's exponent and subnormals are float16's.
  const float scaled = std::fabs(x) * 0x1p-112f;
  const uint32_t bits = read_as<uint32_t>(&scaled), sign = std::signbit(x) ? 0x8000 : 0;
  return static_cast<uint16_t>(sign | (bits + 0xfff + (bits >> 13 & 1)) >> 13);
}

constexpr int kLanes = 4;
typedef float Lanes __attribute__((vector_size(4 * kLanes)));

// The nearest whole numbers of 0 ... last; the sum with 1.5 * 2^23 has no fraction.
inline Lanes nearest(Lanes steps, float last) {
  const Lanes none{}, most = none + last;
  steps = steps > none ? steps : none;
  steps = steps < most ? steps : most;
  return steps + 12582912.0f - 12582912.0f;
}

// A straight line over the codes 0 ... 15, in float16, for at most 128 weights.
struct Line {
  uint16_t scale, offset;
  Lanes codes[128 / kLanes];
  float error;
};

float total(Lanes lanes) {
  float sum = 0;
  for (int j = 0; j < kLanes; ++j) sum += lanes[j];
  return sum;
}

Line fit(const Lanes* w, int count, float scale, float offset) {
  Line line;
  line.scale = float16_of(scale);
  line.offset = float16_of(offset);
  const float step = float_from_float16(line.scale), from = float_from_float16(line.offset);
  const float per_step = step != 0 ? 1 / step : 0;
  Lanes errors{};
  for (int k = 0; k < count; ++k) {
    line.codes[k] = nearest((w[k] - from) * per_step, 15);
    const Lanes off = line.codes[k] * step + from - w[k];
    errors += off * off;
  }
  line.error = total(errors);
  return line;
}

// The line of least squares through what got the same codes.
Line refit(const Line& line, const Lanes* w, int count) {
  Lanes codes{}, squares{}, weights{}, mixed{};
  for (int k = 0; k < count; ++k) {
    codes += line.codes[k];
    squares += line.codes[k] * line.codes[k];
    weights += w[k];
    mixed += line.codes[k] * w[k];
  }
  const float n = static_cast<float>(count * kLanes), sum = total(codes), all = total(weights);
  const float spread = total(squares) * n - sum * sum;
  if (spread <= 0) return line;  // one code holds all
  const float scale = (total(mixed) * n - sum * all) / spread;
  return fit(w, count, scale, (all - scale * sum) / n);
}

void round_u4(const float* weights, int count, int group, Span& span, uint8_t* codes) {
  Lanes w[128 / kLanes];  // filled up with the last weight
  float filled[128];
  const int vectors = (count + kLanes - 1) / kLanes;
  std::copy_n(weights, count, filled);
  std::fill(filled + count, filled + vectors * kLanes, weights[count - 1]);
  std::memcpy(w, filled, sizeof(Lanes) * static_cast<size_t>(vectors));
  Lanes least = w[0], most = w[0];
  for (int k = 1; k < vectors; ++k) {
    least = w[k] < least ? w[k] : least;
    most = w[k] > most ? w[k] : most;
  }
  float from = least[0], to = most[0];
  for (int j = 1; j < kLanes; ++j) from = std::min(from, least[j]), to = std::max(to, most[j]);
  Line best = fit(w, vectors, (to - from) / 15, from);
  for (int step = 0; step < 2; ++step) {
    const Line next = refit(best, w, vectors);
    if (!(next.error < best.error)) break;
    best = next;
  }
  span.scales[group] = best.scale;
  span.offsets[group] = best.offset;
  for (int k = 0; k < count; ++k) {
    codes[k] = static_cast<uint8_t>(best.codes[k / kLanes][k % kLanes]);
  }
}

void round_i8(const float* w, int count, float scale, uint8_t* codes) {
  const float per_step = scale != 0 ? 1 / scale : 0;
  for (int k = 0; k < count; ++k) {
    codes[k] = static_cast<uint8_t>(nearest(Lanes{w[k] * per_step + 128}, 255)[0]);
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

}  // namespace anydraft::detail
