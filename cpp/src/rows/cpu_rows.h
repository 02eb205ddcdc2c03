// The CPU instrument: plays the walks of detail/walks.h for one request over rows in memory.
#pragma once

#include <cstdint>
#include <vector>

#include "anydraft/detail/play.h"
#include "anydraft/detail/walks.h"

namespace anydraft::detail {

// The token where the cumulative mass passes coin * total; never one without mass. `totals` are the
// law's chunk totals; their scale does not matter.
int32_t pick_from_law(const Law& law, const std::vector<double>& totals, double coin);

// first_child and next_sibling [nodes] of a tree given by parents [nodes].
void link_children(const int32_t* parents, int32_t nodes, int32_t* first_child,
                   int32_t* next_sibling);

class CpuRows : public Instrument<CpuRows> {
 public:
  // Plays request `request` of a checked VerifyRequest; keeps a reference to it.
  CpuRows(const VerifyRequest& all, int64_t request);

  void load(int32_t node);
  double total_of(const Residual& residual);
  int32_t pick_with(const Residual& residual, double coin);
  void remember(int32_t child, double z) {
    z_[child] = z;
    totals_for_ = -1;
  }
  int64_t vocab() const { return all_.target_logits.cols; }

 private:
  // Residual masses of entries [begin, end).
  void residual_masses(const Residual& residual, int64_t begin, int64_t end, double* out) const;

  const VerifyRequest& all_;
  int32_t base_;
  std::vector<int32_t> first_child_, next_sibling_;
  std::vector<double> z_;
  int32_t totals_for_ = -1;     // the residual (by rejected child) that totals_ belong to; -1: none
  std::vector<double> totals_;  // of the target's row, then of the residual, chunk by chunk
};

}  // namespace anydraft::detail
