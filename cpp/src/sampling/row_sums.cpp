#include "sampling/row_sums.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "anydraft/error.h"
#include "base/parallel.h"
#include "rows/kernels.h"

namespace anydraft::detail {
// What masses are relative to while a row is being read.
struct RowSums::Reference {
  float largest = -INFINITY;
  bool resolved = false;  // the fields below hold
  float lower = 0;
  int32_t exponent = 0;

  void raise(float to, float scale) {
    if (!(to > largest)) return;
    largest = to;
    resolved = std::abs(largest) * scale <= kLargestExponent;
    if (!resolved) return;
    lower = lowest_logit(largest, scale);
    exponent = power_of(largest, scale).exponent;
  }
};

namespace {

// A chunk's entries may stand this far above the reference: float lanes hold 2^127.
constexpr int32_t kRoom = 64;

}  // namespace

std::vector<RowSums::Part>& RowSums::parts() {
  thread_local std::vector<Part> parts;
  return parts;
}

void RowSums::fail(const char* got, int64_t name) {
  throw Error(ErrorKind::kNonFiniteLogits,
              "[distribution] expected finite logits (or -inf for masked tokens)"
              ", got " +
                  std::string(got) + " in row " + std::to_string(name));
}

RowSums::Part RowSums::maximum_of(int64_t chunk, float* lanes) const {
  const ChunkView from = view(chunk);
  const ChunkMax found = kernels().max(from.row, from.dtype, from.begin, from.end, lanes);
  if (found.bad) fail("NaN or +inf", name_);
  return {found.largest, -INFINITY, 0, 0, kNothing, 0};
}

void RowSums::read_maxima(std::vector<float>* lanes) {
  const int chunks = chunks_of(row_.size);
  parts().resize(chunks);
  if (lanes) lanes->resize(static_cast<size_t>(chunks) * kLanes);
  Part* const parts = RowSums::parts().data();  // the calling thread's
  const auto read = [&](int64_t chunk) {
    parts[chunk] = maximum_of(chunk, lanes ? lanes->data() + chunk * kLanes : nullptr);
  };
  parallel_each_chunk(chunks, read, cost_of(row_));
  find_largest();
}

// The first chunk gives all threads something to measure by.
void RowSums::read_totals(float* keep) {
  const int chunks = chunks_of(row_.size);
  parts().resize(chunks);
  Part* const parts = RowSums::parts().data();
  const Reference first = read_part(0, std::min(chunks, 1), {}, parts, keep);
  parallel_chunks(
      chunks - 1,
      [&](int64_t chunk, int64_t end) { read_part(chunk + 1, end + 1, first, parts, keep); },
      cost_of(row_));
  find_largest();
}

void RowSums::find_largest() {
  largest_ = -INFINITY;
  for (const Part& part : parts()) largest_ = std::max(largest_, part.largest);
}

// Scaling by powers of two is exact, and a chunk that took entries which turn out too small is
// summed anew by total(): the bits are those of a sum relative to the row's largest logit.
RowSums::Reference RowSums::read_part(int64_t chunk, int64_t end, Reference now, Part* parts,
                                      float* keep) const {
  for (; chunk < end; ++chunk) {
    Part& part = parts[chunk];
    bool known = false;
    if (now.resolved) {
      const int64_t begin = chunk * kChunk;
      const ChunkScan scan = scan_chunk(row_, begin, end_of(chunk), now.lower, now.exponent,
                                        keep ? keep + begin : nullptr);
      if (scan.largest == INFINITY) fail("NaN or +inf", name_);
      part = {scan.largest, scan.smallest, scan.total, now.exponent, keep ? now.exponent : kNothing,
              scan.smallest};
      const int32_t was = now.exponent;
      now.raise(scan.largest, row_.scale);
      known = now.resolved && now.exponent - was <= kRoom;
      if (known && std::isnan(scan.total)) fail("NaN or +inf", name_);
    }
    if (known) continue;
    part = maximum_of(chunk, nullptr);
    now.raise(part.largest, row_.scale);
  }
  return now;
}

double RowSums::total(float lower, int32_t exponent) {
  double sum = 0;
  for (int64_t chunk = 0; chunk < chunks(); ++chunk) {
    Part& part = parts()[chunk];
    if (part.largest < lower) {
      part.total = 0;
    } else if (part.smallest >= lower) {
      part.total = std::ldexp(part.total, part.exponent - exponent);
    } else {
      part.total = sum_chunk(row_, chunk * kChunk, end_of(chunk), lower, exponent);
    }
    part.smallest = std::max(part.smallest, lower);
    part.exponent = exponent;
    sum += part.total;
  }
  return sum;
}

void RowSums::keep_all(const Distribution& distribution, Fractions& keep) const {
  const Part* const parts = RowSums::parts().data();
  const auto keep_one = [&](int64_t chunk) {
    const Part& part = parts[chunk];
    if (part.largest < distribution.lower) {
      keep.scales[chunk] = 0;
    } else if (part.kept_exponent == kNothing || part.kept_smallest < distribution.lower) {
      keep_chunk(distribution, chunk, keep);
    } else {
      keep.scales[chunk] =
          std::ldexp(distribution.inverse_total, part.kept_exponent - distribution.exponent);
    }
  };
  parallel_each_chunk(chunks(), keep_one, cost_of(row_));
}

void RowSums::write_totals(std::vector<double>& totals) const {
  totals.clear();
  for (const Part& part : parts()) totals.push_back(part.total);
}

void RowSums::write_maxima(std::vector<float>& maxima) const {
  maxima.clear();
  for (const Part& part : parts()) maxima.push_back(part.largest);
}

int32_t RowSums::lowest_index_of_largest() const {
  int64_t chunk = 0;
  while (parts()[chunk].largest != largest_) ++chunk;
  const ChunkView from = view_chunk(row_, chunk * kChunk, end_of(chunk));
  constexpr int64_t kPiece = 64;  // of the chunk, so that few entries are looked at one by one
  int64_t at = from.begin;
  const auto has_largest = [&](int64_t end) {
    return kernels().max(from.row, from.dtype, at, end, nullptr).largest == largest_;
  };
  while (at + kPiece < from.end && !has_largest(at + kPiece)) at += kPiece;
  while (load(from.row, from.dtype, at) != largest_) ++at;
  return static_cast<int32_t>(chunk * kChunk + at - from.begin);
}

}  // namespace anydraft::detail
