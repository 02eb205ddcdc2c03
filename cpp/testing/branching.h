// Drawing and walking along branches with their exact weights, for the enumerating backends.
#pragma once

#include <algorithm>
#include <vector>

#include "rows/cpu_rows.h"
#include "rows/draft_rows.h"
#include "testing/branches.h"

namespace anydraft::testing {

// Plays a verifier by branching where it would flip uniforms.
class EnumeratingRows : public detail::CpuRows {
 public:
  EnumeratingRows(const VerifyRequest& all, detail::CpuScratch& scratch, Branches& branches)
      : CpuRows(all, 0, scratch), branches_(branches) {}

  bool accept(double numerator, double denominator, int32_t node) {
    branches_.use(detail::random_key(play_, Purpose::kAccept, node));
    if (numerator >= denominator) return numerator > 0;  // uniform < 1: no branch to follow
    return branches_.choose({numerator, denominator - numerator}) == 0;
  }
  bool chance(double probability, int32_t node) {
    branches_.use(detail::random_key(play_, Purpose::kSelect, node));
    return branches_.choose({probability, 1 - probability}) == 0;
  }
  int32_t pick(const detail::Residual& residual, Purpose purpose) {
    branches_.use(detail::random_key(play_, purpose, residual.node));
    std::vector<double> weights(vocab());
    double total = 0;
    for (int64_t i = 0; i < vocab(); ++i) {
      total += weights[i] = weight(residual, static_cast<int32_t>(i));
    }
    if (!(total > 0)) return pick(this->residual(residual.node), Purpose::kBonus);
    return branches_.choose(weights);
  }

 private:
  Branches& branches_;
};

// Draws children as detail/draws.h asks, by branching.
class BranchingDrawer {
 public:
  BranchingDrawer(const RowsView& rows, int64_t row, const SamplingParams& params,
                  Branches& branches)
      : BranchingDrawer(make_distribution(rows, row, params), branches) {}
  // As draw_children of a draft row; sets row.known.
  BranchingDrawer(DraftRow& row, const SamplingParams& params, Branches& branches)
      : BranchingDrawer(read(row, params), branches) {}
  // One without mass draws nothing.
  BranchingDrawer(const detail::Distribution& distribution, Branches& branches)
      : distribution_(distribution), branches_(branches) {
    for (int64_t i = 0; i < distribution_.size; ++i) {
      by_logit_.push_back(static_cast<int32_t>(i));
      masses_.push_back(detail::mass(distribution_, i));
    }
    std::stable_sort(by_logit_.begin(), by_logit_.end(),
                     [this](int32_t a, int32_t b) { return logit(a) > logit(b); });
  }

  void keep_likeliest(size_t count) {
    for (size_t rank = count; rank < by_logit_.size(); ++rank) masses_[by_logit_[rank]] = 0;
  }

  int32_t pick(const int32_t* without, int32_t count, int32_t) {
    std::vector<double> weights = masses_;
    for (int32_t i = 0; i < count; ++i) weights[without[i]] = 0;
    if (std::none_of(weights.begin(), weights.end(), [](double w) { return w > 0; })) return -1;
    return branches_.choose(weights);
  }
  int32_t likeliest(int32_t rank) {
    const int32_t token = highest(rank);
    return token >= 0 && masses_[token] > 0 ? token : -1;
  }
  int32_t highest(int32_t rank) {
    if (rank >= static_cast<int32_t>(by_logit_.size())) return -1;
    return logit(by_logit_[rank]) > -INFINITY ? by_logit_[rank] : -1;
  }

  const std::vector<double>& masses() const { return masses_; }

 private:
  float logit(int32_t id) const { return detail::logit_at(distribution_, id); }
  static detail::Distribution read(DraftRow& row, const SamplingParams& params) {
    row.known.reset();
    detail::Distribution distribution = detail::unread_row(row);
    if (detail::normalise(distribution, params, row.logits.name, nullptr, nullptr)) {
      row.known = detail::known_of(distribution);
    } else {
      distribution.size = 0;
    }
    return distribution;
  }

  detail::Distribution distribution_;
  Branches& branches_;
  std::vector<int32_t> by_logit_;
  std::vector<double> masses_;
};

}  // namespace anydraft::testing
