// A row read chunk by chunk: maxima, and totals in the fixed order.
#pragma once

#include <cstdint>
#include <vector>

#include "anydraft/detail/distribution.h"
#include "anydraft/rows_view.h"
#include "rows/fractions.h"

namespace anydraft::detail {

class RowSums {
 public:
  RowSums(const RowsView& rows, int64_t index)
      : rows_(rows), index_(index), row_(rows.row(index)) {}

  // Largest logits alone; `lanes`, where not null, receives those of the 32 lanes of each chunk.
  void read_maxima(std::vector<float>* lanes);
  // Largest logits and totals in one reading, each chunk relative to the largest logit so far.
  // `keep` [size], where not null, receives the terms; see keep_all.
  void read_totals(float scale, float* keep);
  // Both throw Error(kNonFiniteLogits) naming the row for NaN, +inf or -inf everywhere.

  float largest() const { return largest_; }
  float largest_of(int64_t chunk) const { return parts()[chunk].largest; }
  int64_t chunks() const { return static_cast<int64_t>(parts().size()); }
  int32_t lowest_index_of_largest() const;

  // Total of 2^(scale * x - exponent) over x >= lower, which is at least that of earlier calls;
  // reads only chunks whose total is not known yet.
  double total(float scale, float lower, int32_t exponent);
  // Makes `keep`, whose `of` read_totals filled or nothing did, hold the masses of the
  // distribution: what was kept without the distribution's cut-off is read anew.
  void keep_all(const Distribution& distribution, Fractions& keep) const;
  void write_totals(std::vector<double>& totals) const;  // of the last call, chunk by chunk

  const void* row() const { return row_; }
  DType dtype() const { return rows_.dtype; }
  int64_t size() const { return rows_.cols; }
  int64_t end_of(int64_t chunk) const;

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
  [[noreturn]] void fail(const char* got) const;

  const RowsView& rows_;
  int64_t index_;
  const void* row_;
  float largest_ = 0;
};

}  // namespace anydraft::detail
