#include "sampling/row_sums.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "anydraft/error.h"
#include "rows/kernels.h"

namespace anydraft::detail {
namespace {

// What masses are relative to while a row is being read.
struct Reference {
  float largest = -INFINITY;
  bool resolved = false;  // the fields below hold
  float lower = 0;
  int32_t exponent = 0;
};

Reference reference_of(float largest, float scale) {
  Reference now;
  now.largest = largest;
  now.resolved = std::abs(largest) * scale <= kLargestExponent;
  if (now.resolved) {
    now.lower = lowest_logit(largest, scale);
    now.exponent = power_of(largest, scale).exponent;
  }
  return now;
}

// A chunk's entries may stand this far above the reference: float lanes hold 2^127.
constexpr int32_t kRoom = 64;

}  // namespace

std::vector<RowSums::Part>& RowSums::parts() {
  thread_local std::vector<Part> parts;
  return parts;
}

int64_t RowSums::end_of(int64_t chunk) const {
  return std::min<int64_t>((chunk + 1) * kChunk, rows_.cols);
}

void RowSums::fail(const char* got) const {
  throw Error(ErrorKind::kNonFiniteLogits,
              "[distribution] expected finite logits (or -inf for masked tokens)"
              ", got " +
                  std::string(got) + " in row " + std::to_string(rows_.named_from + index_));
}

RowSums::Part RowSums::maximum_of(int64_t chunk, float* lanes) const {
  const ChunkMax found = kernels().max(row_, rows_.dtype, chunk * kChunk, end_of(chunk), lanes);
  if (found.bad) fail("NaN or +inf");
  return {found.largest, -INFINITY, 0, 0, kNothing, 0};
}

void RowSums::read_maxima(std::vector<float>* lanes) {
  const int chunks = chunks_of(rows_.cols);
  parts().resize(chunks);
  if (lanes) lanes->resize(static_cast<size_t>(chunks) * kLanes);
  largest_ = -INFINITY;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    parts()[chunk] = maximum_of(chunk, lanes ? lanes->data() + chunk * kLanes : nullptr);
    largest_ = std::max(largest_, parts()[chunk].largest);
  }
  if (largest_ == -INFINITY) fail("-inf everywhere");
}

// Scaling by powers of two is exact, and a chunk that took entries which turn out too small is
// summed anew by total(): the bits are those of a sum relative to the row's largest logit.
void RowSums::read_totals(float scale, float* keep) {
  const int chunks = chunks_of(rows_.cols);
  parts().resize(chunks);
  Reference now;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    Part& part = parts()[chunk];
    bool known = false;
    if (now.resolved) {
      const ChunkScan scan = kernels().scan(
          row_, rows_.dtype, static_cast<int64_t>(chunk) * kChunk, end_of(chunk), scale, now.lower,
          now.exponent, keep ? keep + static_cast<int64_t>(chunk) * kChunk : nullptr);
      if (scan.largest == INFINITY) fail("NaN or +inf");
      part = {scan.largest, scan.smallest, scan.total, now.exponent, keep ? now.exponent : kNothing,
              scan.smallest};
      const int32_t was = now.exponent;
      if (scan.largest > now.largest) now = reference_of(scan.largest, scale);
      known = now.resolved && now.exponent - was <= kRoom;
      if (known && std::isnan(scan.total)) fail("NaN or +inf");
    }
    if (known) continue;
    part = maximum_of(chunk, nullptr);
    if (part.largest > now.largest) now = reference_of(part.largest, scale);
  }
  largest_ = now.largest;
  if (largest_ == -INFINITY) fail("-inf everywhere");
}

double RowSums::total(float scale, float lower, int32_t exponent) {
  double sum = 0;
  for (int64_t chunk = 0; chunk < chunks(); ++chunk) {
    Part& part = parts()[chunk];
    if (part.largest < lower) {
      part.total = 0;
    } else if (part.smallest >= lower) {
      part.total = std::ldexp(part.total, part.exponent - exponent);
    } else {
      part.total =
          kernels().sum(row_, rows_.dtype, chunk * kChunk, end_of(chunk), scale, lower, exponent);
    }
    part.smallest = std::max(part.smallest, lower);
    part.exponent = exponent;
    sum += part.total;
  }
  return sum;
}

void RowSums::keep_all(const Distribution& distribution, Fractions& keep) const {
  for (int64_t chunk = 0; chunk < chunks(); ++chunk) {
    const Part& part = parts()[chunk];
    if (part.kept_exponent == kNothing || part.kept_smallest < distribution.lower) {
      keep_chunk(distribution, chunk, keep);
    } else {
      keep.scales[chunk] =
          std::ldexp(distribution.inverse_total, part.kept_exponent - distribution.exponent);
    }
  }
}

void RowSums::write_totals(std::vector<double>& totals) const {
  totals.clear();
  for (const Part& part : parts()) totals.push_back(part.total);
}

int32_t RowSums::lowest_index_of_largest() const {
  int64_t chunk = 0;
  while (parts()[chunk].largest != largest_) ++chunk;
  int64_t token = chunk * kChunk;
  while (load(row_, rows_.dtype, token) != largest_) ++token;
  return static_cast<int32_t>(token);
}

}  // namespace anydraft::detail
