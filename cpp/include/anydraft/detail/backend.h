// What a verifier asks of a backend, but for how rows are read and summed.
#pragma once

#include "anydraft/detail/play.h"

namespace anydraft::detail {

// Mass left of a draft row below which it is summed anew: a difference from 1 is mostly rounding.
constexpr double kThin = 1e-3;

// `Rows` adds, for all who take part in playing the request:
//   void load(node)                      target_ and draft_ become the distributions at a node
//   double sum_of(residual)              of U over the row, in the fixed order
//   double draft_without(child)          of the draft row, without the siblings it leaves out
//   double overlap(node, cap)            of min(draft, cap * target)
//   void histogram(node, target, draft)  masses by bucket_of, [kBuckets] each
//   int32_t pick_with(residual, uniform)
//   void undrawable(child)               a child has no mass where it was proposed from: the
//                                        caller's mistake, unless it underflowed
template <class Rows>
class Backend {
 public:
  ANYDRAFT_HD Residual residual(int32_t node, double weight = 1) const {
    return {node, -1, weight, 0, 0, weight};
  }

  // U of one token.
  ANYDRAFT_HD double weight(const Residual& residual, int32_t token) {
    need(residual.node);
    if (is_spent(play_, residual, token)) return 0;
    const double target = mass(target_, token);
    if (!(residual.drafted > 0)) return residual.weight * target;
    const bool left_out =
        excludes_later(play_.kinds[residual.node]) && is_later_sibling(play_, residual.node, token);
    return plain_residual(residual, target, left_out ? 0 : draft_of(residual.node, token));
  }

  // Mass of a drafted child in the distribution it was proposed from.
  ANYDRAFT_HD double draft_mass(int32_t child) {
    if (is_certain(play_, child)) return 1;
    const int32_t node = play_.parents[child];
    need(node);
    const bool spoken_for = leaves_out(child, play_.tokens[child]);
    const double q = spoken_for ? 0 : draft_of(node, play_.tokens[child]) / rest(child);
    if (!(q > 0)) rows().undrawable(child);
    return q > 0 ? q : 0;
  }

  ANYDRAFT_HD void reject(Residual& residual, int32_t child) {
    need(residual.node);
    const bool certain = is_certain(play_, child);
    Residual next = without(residual, child, certain);
    if (certain) {
      next.sum -= weight(residual, play_.tokens[child]);
      rows().mark_spent(child, 1);
      if (next.sum < kCancelled * residual.sum) next.sum = rows().sum_of(next);
    } else {
      next.sum = play_.kinds[residual.node] == ProposalKind::kSparse ? sparse_sum(residual, next)
                                                                     : rows().sum_of(next);
    }
    if (!(next.sum > 0) && residual.weight >= 1) {
      // Rounding left nothing, where the node must give something: this rejection changes nothing.
      rows().mark_spent(child, 0);
      next = residual;
      next.rejected = child;
      degenerate_ = true;
    }
    residual = next;
  }

  // Rows that pay for coming back to a node may sum what a rejection leaves before they go on.
  ANYDRAFT_HD void foresee(const Residual&, int32_t) const {}

  ANYDRAFT_HD bool accept(double numerator, double denominator, int32_t node) const {
    return uniform_for(play_, Purpose::kAccept, node) * denominator < numerator;
  }
  ANYDRAFT_HD int32_t pick(const Residual& residual, Purpose purpose) {
    need(residual.node);
    return rows().pick_with(residual, uniform_for(play_, purpose, residual.node));
  }
  // With the given probability; multi-path selection.
  ANYDRAFT_HD bool chance(double probability, int32_t node) const {
    return uniform_for(play_, Purpose::kSelect, node) < probability;
  }

  ANYDRAFT_HD int32_t first_child(int32_t node) const { return play_.first_child[node]; }
  ANYDRAFT_HD int32_t next_sibling(int32_t node) const { return play_.next_sibling[node]; }
  ANYDRAFT_HD int32_t parent(int32_t node) const { return play_.parents[node]; }
  ANYDRAFT_HD int32_t token(int32_t node) const { return play_.tokens[node]; }
  ANYDRAFT_HD int32_t paths(int32_t node) const { return play_.paths ? play_.paths[node] : 1; }
  ANYDRAFT_HD Residual& saved(int32_t node) { return play_.saved[node]; }
  ANYDRAFT_HD bool degenerate() const { return degenerate_; }

  ANYDRAFT_HD double overlap(int32_t node, double cap) {
    need(node);
    return rows().overlap_of(node, cap);
  }
  // Masses by bucket of target / draft, [kBuckets] each.
  ANYDRAFT_HD void histogram(int32_t node, double* target, double* draft) {
    need(node);
    rows().histogram_of(target, draft);
  }
  ANYDRAFT_HD int bucket(int32_t child) {
    need(parent(child));
    return bucket_of(mass(target_, token(child)), mass(draft_, token(child)));
  }
  ANYDRAFT_HD void select(int32_t node, int32_t child, const Selection& selection) {
    rows().keep_child(node, child, selection);
  }

 protected:
  // `residual` once `child` is rejected, but for its sum.
  ANYDRAFT_HD Residual without(const Residual& residual, int32_t child, bool certain) {
    Residual next = residual;
    next.rejected = child;
    if (!certain) next.drafted += residual.total() / rest(child);
    return next;
  }
  // Mass of a token in the draft row, as the distribution of the node's children has it.
  ANYDRAFT_HD double draft_of(int32_t node, int32_t token) const {
    if (play_.kinds[node] == ProposalKind::kSparse) return sparse_mass(node, token);
    const double draft = mass(draft_, token);
    if (!selected_ || !(draft > 0)) return draft;
    return draft * play_.selections[node].factor[bucket_of(mass(target_, token), draft)];
  }
  ANYDRAFT_HD double sparse_mass(int32_t node, int32_t token) const {
    double found = 0, total = 0;
    for (int32_t i = play_.sparse_offsets[node]; i < play_.sparse_offsets[node + 1]; ++i) {
      total += play_.masses[i];
      if (play_.ids[i] == token) found = play_.masses[i];
    }
    return found / total;
  }
  // Siblings that the distribution of `child` leaves out: the earlier ones, or for hub and greedy-k
  // the later ones.
  ANYDRAFT_HD int32_t first_left_out(int32_t child) const {
    const int32_t node = play_.parents[child];
    if (play_.kinds[node] == ProposalKind::kWithoutReplacement) return play_.first_child[node];
    return excludes_later(play_.kinds[node]) ? play_.next_sibling[child] : -1;
  }
  ANYDRAFT_HD bool leaves_out(int32_t child, int32_t token) const {
    for (int32_t at = first_left_out(child); at >= 0 && at != child; at = play_.next_sibling[at]) {
      if (play_.tokens[at] == token) return true;
    }
    return false;
  }

  ANYDRAFT_HD void need(int32_t node) {
    if (loaded_ == node) return;
    rows().load(node);
    loaded_ = node;
  }

  // Mass of the draft row that the distribution of `child` keeps.
  ANYDRAFT_HD double rest(int32_t child) {
    if (rest_of_ == child) return rest_;
    double left = 1;
    for (int32_t at = first_left_out(child); at >= 0 && at != child; at = play_.next_sibling[at]) {
      left -= mass(draft_, play_.tokens[at]);
    }
    rest_ = left < kThin ? rows().draft_without(child) : left;
    rest_of_ = child;
    return rest_;
  }

  Play play_;
  Distribution target_, draft_;  // of the node being visited
  bool selected_ = false;        // multipath: distributions of children are those of the selection
  bool degenerate_ = false;

 private:
  ANYDRAFT_HD Rows& rows() { return static_cast<Rows&>(*this); }

  // The sum of `next`, where only the distribution's few tokens lose something.
  ANYDRAFT_HD double sparse_sum(const Residual& residual, const Residual& next) {
    double lost = 0;
    for (int32_t i = play_.sparse_offsets[next.node]; i < play_.sparse_offsets[next.node + 1];
         ++i) {
      lost += weight(residual, play_.ids[i]) - weight(next, play_.ids[i]);
    }
    const double left = residual.sum - lost;
    return left < kCancelled * residual.sum ? rows().sum_of(next) : left;
  }

  int32_t loaded_ = -1;
  int32_t rest_of_ = -1;
  double rest_ = 1;
};

}  // namespace anydraft::detail
