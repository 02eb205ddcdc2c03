#include <algorithm>
#include <cmath>
#include <string>

#include "anydraft/error.h"
#include "anydraft/sampling.h"
#include "rows/kernels.h"
#include "rows/picks.h"

namespace anydraft {
namespace {

using detail::kChunk;
using detail::Law;

[[noreturn]] void bad_row(int64_t index, const char* got) {
  throw Error(ErrorKind::kNonFiniteLogits,
              "[law] expected finite logits (or -inf for masked tokens)"
              ", got " +
                  std::string(got) + " in row " + std::to_string(index));
}

// Below this, logits of ordinary size pass what a float can tell apart.
constexpr double kColdest = 1e-4;

float largest_logit(const RowsView& rows, int64_t index, std::vector<float>& chunk_max) {
  const void* row = rows.row(index);
  float largest = -INFINITY;
  chunk_max.clear();
  for (int64_t begin = 0; begin < rows.cols; begin += kChunk) {
    const auto found =
        detail::kernels().max(row, rows.dtype, begin, std::min<int64_t>(begin + kChunk, rows.cols));
    if (found.bad) bad_row(rows.named_from + index, "NaN or +inf");
    chunk_max.push_back(found.largest);
    largest = std::max(largest, found.largest);
  }
  if (largest == -INFINITY) bad_row(rows.named_from + index, "-inf everywhere");
  return largest;
}

int32_t lowest_index_of(const RowsView& rows, int64_t index, float value) {
  int64_t token = 0;
  while (detail::load(rows.row(index), rows.dtype, token) != value) ++token;
  return static_cast<int32_t>(token);
}

// Logits of the entries that can have mass, in no particular order.
std::vector<float> survivors(const RowsView& rows, int64_t index, float lower) {
  std::vector<float> kept;
  for (int64_t token = 0; token < rows.cols; ++token) {
    const float x = detail::load(rows.row(index), rows.dtype, token);
    if (x >= lower) kept.push_back(x);
  }
  return kept;
}

double relative_mass(float x, float scale, int32_t exponent) {
  return static_cast<double>(detail::scaled(detail::power_of(x, scale), exponent));
}

// The logit at which the cumulative mass, from the largest down, first reaches top_p.
float nucleus_cutoff(std::vector<float> kept, double top_p, float scale, int32_t exponent) {
  double total = 0;
  for (float x : kept) total += relative_mass(x, scale, exponent);
  // Entries below (1 - top_p) / size of the total hold less than 1 - top_p together.
  const double spare = (1 - top_p) * total / static_cast<double>(kept.size());
  const auto candidate = [&](float x) { return relative_mass(x, scale, exponent) >= spare; };
  kept.erase(std::partition(kept.begin(), kept.end(), candidate), kept.end());
  std::sort(kept.begin(), kept.end(), std::greater<float>());
  double reached = 0;
  for (float x : kept) {
    reached += relative_mass(x, scale, exponent);
    if (reached >= top_p * total) return x;
  }
  return kept.back();
}

float cutoff(const RowsView& rows, int64_t index, const SamplingParams& params, float largest,
             float scale, int32_t exponent) {
  float lower = detail::lowest_logit(largest, scale);
  const bool top_k = params.top_k > 0 && params.top_k < rows.cols;
  if (top_k || params.top_p < 1) {
    std::vector<float> kept = survivors(rows, index, lower);
    if (top_k && static_cast<size_t>(params.top_k) < kept.size()) {
      std::nth_element(kept.begin(), kept.begin() + (params.top_k - 1), kept.end(),
                       std::greater<float>());
      lower = kept[params.top_k - 1];
      kept.erase(std::partition(kept.begin(), kept.end(), [&](float x) { return x >= lower; }),
                 kept.end());
    }
    if (params.top_p < 1) lower = nucleus_cutoff(std::move(kept), params.top_p, scale, exponent);
  }
  if (params.min_p > 0) {
    const double octaves = std::log2(params.min_p);
    lower = std::max(lower, static_cast<float>(largest + octaves / scale));
  }
  return std::min(lower, largest);
}

}  // namespace

void SamplingParams::validate() const {
  const auto fail = [](const char* expected, double got) {
    throw Error(ErrorKind::kValue, std::string("[SamplingParams] expected ") + expected + ", got " +
                                       std::to_string(got));
  };
  const bool cold = temperature > 0 && temperature < kColdest;
  if (!(temperature >= 0) || std::isinf(temperature) || cold) {
    fail("temperature 0 (greedy) or 1e-4 <= temperature < inf", temperature);
  }
  if (top_k < 0) fail("top_k >= 0 (0: off)", top_k);
  if (!(top_p > 0 && top_p <= 1)) fail("0 < top_p <= 1", top_p);
  if (!(min_p >= 0 && min_p < 1)) fail("0 <= min_p < 1", min_p);
}

Law make_law(const RowsView& rows, int64_t index, const SamplingParams& params,
             std::vector<double>* chunk_totals) {
  Law law;
  law.row = rows.row(index);
  law.dtype = rows.dtype;
  law.size = rows.cols;
  thread_local std::vector<float> chunk_max;
  const float largest = largest_logit(rows, index, chunk_max);
  if (params.greedy()) {
    law.one_hot = lowest_index_of(rows, index, largest);
    return law;
  }
  law.scale = static_cast<float>(1.4426950408889634 / params.temperature);
  if (!(std::abs(largest) * law.scale <= detail::kLargestExponent)) {
    throw Error(ErrorKind::kValue, "[law] expected |logit| / temperature below 2.9e6, got logit " +
                                       std::to_string(largest) + " at temperature " +
                                       std::to_string(params.temperature) + " in row " +
                                       std::to_string(rows.named_from + index));
  }
  law.exponent = detail::power_of(largest, law.scale).exponent;
  law.lower = cutoff(rows, index, params, largest, law.scale, law.exponent);
  double total = 0;
  if (chunk_totals) chunk_totals->clear();
  for (size_t chunk = 0; chunk < chunk_max.size(); ++chunk) {
    const int64_t begin = static_cast<int64_t>(chunk) * kChunk;
    double part = 0;
    if (chunk_max[chunk] >= law.lower) {
      part = detail::kernels().sum(law.row, law.dtype, begin,
                                   std::min<int64_t>(begin + kChunk, law.size), law.scale,
                                   law.lower, law.exponent);
    }
    if (chunk_totals) chunk_totals->push_back(part);
    total += part;
  }
  law.inverse_total = 1 / total;
  return law;
}

int32_t sample_row(const RowsView& rows, int64_t index, const SamplingParams& params, double coin) {
  thread_local std::vector<double> totals;
  const Law law = make_law(rows, index, params, &totals);
  if (law.one_hot >= 0) return law.one_hot;
  return detail::pick_from_law(law, totals, coin);
}

void write_probs(const RowsView& rows, const SamplingParams& params, float* out) {
  params.validate();
  double masses[kChunk];
  for (int64_t index = 0; index < rows.rows; ++index) {
    const Law law = make_law(rows, index, params);
    for (int64_t begin = 0; begin < rows.cols; begin += kChunk) {
      const int64_t end = std::min<int64_t>(begin + kChunk, rows.cols);
      detail::kernels().masses(law, begin, end, masses);
      std::copy(masses, masses + (end - begin), out + index * rows.cols + begin);
    }
  }
}

}  // namespace anydraft
