// A row read chunk by chunk: maxima, and totals in the fixed order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "anydraft/detail/distribution.h"
#include "rows/chunks.h"
#include "rows/fractions.h"

namespace anydraft::detail {

class RowSums {
 public:
  // `row` says where the row is, how it is read and its scale; `name` is its number in errors.
  RowSums(const Distribution& row, int64_t name) : row_(row), name_(name) {}

  // Largest logits alone; `lanes`, where not null, receives those of the 32 lanes of each chunk.
  void read_maxima(std::vector<float>* lanes);
  // Largest logits and totals in one reading, each chunk relative to the largest logit so far.
  // `keep` [size], where not null, receives the terms; see keep_all.
  void read_totals(float* keep);
  // Both throw Error(kNonFiniteLogits) naming the row for NaN or +inf.

  float largest() const { return largest_; }
  float largest_of(int64_t chunk) const { return parts()[chunk].largest; }
  int64_t chunks() const { return static_cast<int64_t>(parts().size()); }
  int32_t lowest_index_of_largest() const;

  // Total of 2^(row.scale * x - exponent) over x >= lower, which is at least that of earlier calls;
  // reads only chunks whose total is not known yet.
  double total(float lower, int32_t exponent);
  // Makes `keep`, whose `of` read_totals filled or nothing did, hold the masses of the
  // distribution: what was kept without the distribution's cut-off is read anew.
  void keep_all(const Distribution& distribution, Fractions& keep) const;
  void write_totals(std::vector<double>& totals) const;  // of the last call, chunk by chunk

  void write_maxima(std::vector<float>& maxima) const;  // likewise, of any call
  [[noreturn]] static void fail(const char* got, int64_t name);

  int64_t size() const { return row_.size; }
  int64_t end_of(int64_t chunk) const { return std::min<int64_t>((chunk + 1) * kChunk, row_.size); }
  // The chunk's entries, in any order.
  ChunkView view(int64_t chunk) const { return any_order(row_, chunk * kChunk, end_of(chunk)); }

 private:
  struct Part {
    float largest;
    float smallest;  // no entry in `total` is below; -inf where the total is not known
    double total;    // in units of 2^exponent
    int32_t exponent;
    int32_t kept_exponent;  // of the terms in `keep`; kNothing: there are none
    float kept_smallest;    // as `smallest`, of these
  };
  static constexpr int32_t kNothing = INT32_MIN;
  static std::vector<Part>&
  parts();  // of this thread: a distribution is read by one thread at a time
  Part maximum_of(int64_t chunk, float* lanes) const;
  void find_largest();
  // Of chunks [chunk, end), beginning with reference `now`; returns where it ends.
  struct Reference;
  Reference read_part(int64_t chunk, int64_t end, Reference now, Part* parts, float* keep) const;

  Distribution row_;
  int64_t name_;
  float largest_ = 0;
};

}  // namespace anydraft::detail
