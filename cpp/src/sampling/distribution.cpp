#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "anydraft/error.h"
#include "anydraft/sampling.h"
#include "rows/fractions.h"
#include "sampling/cutoff.h"
#include "sampling/row_sums.h"

namespace anydraft {
namespace {

using detail::Distribution;

// Below this, logits of ordinary size pass what a float can tell apart.
constexpr double kColdest = 1e-4;

[[noreturn]] void too_large(float largest, const SamplingParams& params, int64_t row) {
  throw Error(ErrorKind::kValue,
              "[distribution] expected |logit| / temperature below 2.9e6, got logit " +
                  std::to_string(largest) + " at temperature " +
                  std::to_string(params.temperature) + " in row " + std::to_string(row));
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

// Without top-k and min-p the masses are added up in the same reading as the maximum is found;
// with them few entries may be left, and only these are looked at twice.
Distribution make_distribution(const RowsView& rows, int64_t index, const SamplingParams& params,
                               std::vector<double>* chunk_totals, detail::Fractions* keep) {
  Distribution distribution;
  distribution.row = rows.row(index);
  distribution.dtype = rows.dtype;
  distribution.size = rows.cols;
  detail::RowSums sums(rows, index);
  if (keep) keep->fit(distribution.size);
  if (params.greedy()) {
    sums.read_maxima(nullptr);
    distribution.one_hot = sums.lowest_index_of_largest();
    if (keep) detail::keep_masses(distribution, *keep);
    return distribution;
  }
  thread_local std::vector<float> lanes;
  distribution.scale = detail::scale_of(params.temperature);
  const bool top_k = detail::cuts_top_k(params, rows.cols);
  if (top_k || params.min_p > 0) {
    sums.read_maxima(top_k ? &lanes : nullptr);
  } else {
    sums.read_totals(distribution.scale, keep ? keep->of.data() : nullptr);
  }
  const float largest = sums.largest();
  if (!(std::abs(largest) * distribution.scale <= detail::kLargestExponent)) {
    too_large(largest, params, rows.named_from + index);
  }
  distribution.exponent = detail::power_of(largest, distribution.scale).exponent;
  distribution.lower = detail::lowest_logit(largest, distribution.scale);
  distribution.lower = detail::cutoff(sums, distribution, params, lanes);
  distribution.inverse_total =
      1 / sums.total(distribution.scale, distribution.lower, distribution.exponent);
  if (chunk_totals) sums.write_totals(*chunk_totals);
  if (keep) sums.keep_all(distribution, *keep);
  return distribution;
}

}  // namespace anydraft
