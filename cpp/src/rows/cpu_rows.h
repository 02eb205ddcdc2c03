// The CPU instrument: plays the walks of detail/walks.h for one request over rows in memory.
#pragma once

#include <cstdint>
#include <vector>

#include "anydraft/detail/law.h"
#include "anydraft/detail/walks.h"
#include "anydraft/verify.h"

namespace anydraft::detail {

// The token where the cumulative mass passes coin * total; never one without mass. `totals` are the
// law's chunk totals; their scale does not matter.
int32_t pick_from_law(const Law& law, const std::vector<double>& totals, double coin);

class CpuRows {
 public:
  // r after the rejection of the node's children up to and including `rejected` (-1: none).
  struct Residual {
    int32_t node;
    int32_t rejected;
    double total;
  };

  // Plays request `request` of a verified VerifyRequest; keeps a reference to it.
  CpuRows(const VerifyRequest& all, int64_t request);

  Residual residual(int32_t node);
  double weight(const Residual& residual, int32_t token) const;
  double draft_mass(int32_t child) const;
  void reject(Residual& residual, int32_t child);
  bool accept(double numerator, double denominator, int32_t child) const;
  int32_t pick(const Residual& residual, int32_t node, Purpose purpose);

  int32_t first_child(int32_t node) const { return first_child_[node]; }
  int32_t next_sibling(int32_t node) const { return next_sibling_[node]; }
  int32_t token(int32_t node) const { return all_.trees.tokens[base_ + node]; }
  int32_t parent(int32_t node) const { return all_.trees.parents[base_ + node]; }
  int64_t vocab() const { return all_.target_logits.cols; }

 protected:
  double coin_for(Purpose purpose, int32_t node) const;

 private:
  bool is_one_hot(int32_t child) const {
    return all_.laws.kinds[base_ + parent(child)] == LawKind::kOneHot;
  }
  // Unnormalised residual masses of entries [begin, end).
  void residual_masses(const Residual& residual, int64_t begin, int64_t end, double* out) const;
  void residual_totals(const Residual& residual);  // chunk by chunk, into totals_
  void load_draft_law(int32_t node);

  const VerifyRequest& all_;
  int64_t request_;
  int32_t base_;
  std::vector<int32_t> first_child_, next_sibling_;
  std::vector<double> z_;  // [nodes] total when the child was rejected; -1: left r unchanged
  Law target_, draft_;     // of the node being visited
  std::vector<double> totals_;
};

}  // namespace anydraft::detail
