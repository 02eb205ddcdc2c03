#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "anydraft/error.h"
#include "anydraft/sampling.h"
#include "base/shown.h"
#include "rows/fractions.h"
#include "sampling/cutoff.h"
#include "sampling/normalise.h"
#include "sampling/row_sums.h"

namespace anydraft {
namespace {

using detail::Distribution;

// Below this, logits of ordinary size pass what a float can tell apart.
constexpr double kColdest = 1e-4;

[[noreturn]] void too_large(float largest, const SamplingParams& params, int64_t row) {
  throw Error(ErrorKind::kValue,
              "[distribution] expected |logit| / temperature below 2.9e6, got logit " +
                  shown(largest) + " at temperature " + shown(params.temperature) + " in row " +
                  std::to_string(row));
}

}  // namespace

void SamplingParams::validate() const {
  const auto fail = [](const char* expected, auto got) {
    throw Error(ErrorKind::kValue,
                std::string("[SamplingParams] expected ") + expected + ", got " + shown(got));
  };
  const bool cold = temperature > 0 && temperature < kColdest;
  if (!(temperature >= 0) || std::isinf(temperature) || cold) {
    fail("temperature 0 (greedy) or 1e-4 <= temperature < inf", temperature);
  }
  if (top_k < 0) fail("top_k >= 0 (0: off)", top_k);
  if (!(top_p > 0 && top_p <= 1)) fail("0 < top_p <= 1", top_p);
  if (!(min_p >= 0 && min_p < 1)) fail("0 <= min_p < 1", min_p);
}

namespace detail {

// Without top-k and min-p the masses are added up in the same reading as the maximum is found;
// with them few entries may be left, and only these are looked at twice.
bool normalise(Distribution& row, const SamplingParams& params, int64_t name, RowReading* reading,
               Fractions* keep) {
  row.scale = scale_of(params.temperature);
  RowSums sums(row, name);
  if (keep) keep->fit(row.size);
  thread_local std::vector<float> lanes;
  const bool top_k = cuts_top_k(params, row.size);
  if (params.greedy() || top_k || params.min_p > 0) {
    sums.read_maxima(!params.greedy() && top_k ? &lanes : nullptr);
  } else {
    sums.read_totals(keep ? keep->of.data() : nullptr);
  }
  const float largest = sums.largest();
  if (largest == -INFINITY) return false;
  if (reading) sums.write_maxima(reading->maxima);
  if (params.greedy()) {
    row.one_hot = sums.lowest_index_of_largest();
    if (keep) keep_masses(row, *keep);
    return true;
  }
  if (!(std::abs(largest) * row.scale <= kLargestExponent)) too_large(largest, params, name);
  row.exponent = power_of(largest, row.scale).exponent;
  row.lower = lowest_logit(largest, row.scale);
  row.lower = cutoff(sums, row, params, lanes);
  row.inverse_total = 1 / sums.total(row.lower, row.exponent);
  if (reading) sums.write_totals(reading->totals);
  if (keep) sums.keep_all(row, *keep);
  return true;
}

void fail_without_mass(int64_t name) { RowSums::fail("-inf everywhere", name); }

Distribution distribution_of(const RowView& row, const SamplingParams& params, RowReading* reading,
                             Fractions* keep) {
  Distribution distribution;
  distribution.row = row.data;
  distribution.dtype = row.dtype;
  distribution.size = row.cols;
  if (!normalise(distribution, params, row.name, reading, keep)) fail_without_mass(row.name);
  return distribution;
}

}  // namespace detail

Distribution make_distribution(const RowsView& rows, int64_t index, const SamplingParams& params,
                               std::vector<double>* chunk_totals, detail::Fractions* keep) {
  if (!chunk_totals) return detail::distribution_of(rows.at(index), params, nullptr, keep);
  thread_local detail::RowReading reading;
  const Distribution distribution = detail::distribution_of(rows.at(index), params, &reading, keep);
  *chunk_totals = reading.totals;
  return distribution;
}

}  // namespace anydraft
