// The verifiers: pure functions of a draft tree, distributions and uniforms, written once against a
// backend.
//
// A backend plays one request (detail/backend.h). A node's Residual is what is left of its target
// distribution after the children rejected so far: weight(residual, token) is the unnormalised mass
// U of a token, residual.sum its sum, residual.total() the sum and what other nodes have.
//   double draft_mass(child)         mass of a drafted child where it was proposed from
//   void reject(residual&, child)    U <- relu(U - total * d_child)
//   void foresee(residual, child)    that may be asked for after a visit below the child
//   bool accept(num, den, node)      with probability min(1, num / den)
//   int32_t pick(residual, purpose)  a token with distribution U / sum
// CPU rows, a CUDA block and the tests' enumerating backend all play the source below. An algorithm
// never sees a uniform, so the enumerating one can follow every branch.
#pragma once

#include <cstdint>

#include "anydraft/detail/algorithms.h"
#include "anydraft/detail/host_device.h"
#include "anydraft/detail/play.h"
#include "anydraft/random.h"

namespace anydraft::detail {

struct Verdict {
  int32_t node;        // last accepted node; 0 is the root
  int32_t next_token;  // recovered at an inner node, bonus at a leaf
};

// Recursive rejection from the root. Leviathan et al. 2023 (chains); Miao et al. 2024 (siblings);
// Sun et al. 2024 (SpecHub).
template <class Backend>
ANYDRAFT_HD Verdict top_down(Backend& play) {
  int32_t node = 0;
  for (;;) {
    Residual residual = play.residual(node);
    int32_t child = play.first_child(node);
    const Purpose purpose = child < 0 ? Purpose::kBonus : Purpose::kResidual;
    for (; child >= 0; child = play.next_sibling(child)) {
      const double numerator = play.weight(residual, play.token(child));
      if (play.accept(numerator, residual.total() * play.draft_mass(child), child)) break;
      play.reject(residual, child);
    }
    if (child < 0) return {node, play.pick(residual, purpose)};
    node = child;
  }
}

// For trees whose distributions are all one-hot: draw what plain decoding would draw, with plain
// decoding's uniform, and go on while the tree holds it. In distribution equal to top_down (Timor
// et al. 2025, SLEM).
template <class Backend>
ANYDRAFT_HD Verdict match(Backend& play) {
  int32_t node = 0;
  for (;;) {
    const int32_t token = play.pick(play.residual(node), Purpose::kTarget);
    int32_t child = play.first_child(node);
    while (child >= 0 && play.token(child) != token) child = play.next_sibling(child);
    if (child < 0) return {node, token};
    node = child;
  }
}

// The joint weight a child is offered with: the most its subtree may keep of what is left.
template <class Backend>
ANYDRAFT_HD double offer(Backend& play, const Residual& residual, int32_t child) {
  const double kept = play.weight(residual, play.token(child));
  if (!(kept > 0)) return 0;
  const double proposed = residual.total() * play.draft_mass(child);
  return kept < proposed ? kept / proposed : 1;
}

// From the leaves to the root: the longest path that the joint distribution allows. A node whose
// children are all rejected is kept with probability sum / total, else rejected itself; a child
// offered nothing is rejected unread. Weng et al. 2025, traversal verification; on a chain it is
// block verification (Sun et al. 2024, arXiv 2403.10444). Without recursion, for GPUs.
template <class Backend>
ANYDRAFT_HD Verdict traversal(Backend& play) {
  Residual residual = play.residual(0);
  int32_t child = play.first_child(0);
  for (;;) {
    const int32_t node = residual.node;
    if (child >= 0) {
      const double weight = offer(play, residual, child);
      if (weight > 0) {
        play.saved(node) = residual;
        if (weight < 1) play.foresee(residual, child);  // offered all, the subtree keeps all
        residual = play.residual(child, weight);
        child = play.first_child(child);
      } else {
        play.reject(residual, child);
        child = play.next_sibling(child);
      }
    } else if (node == 0 || play.accept(residual.sum, residual.total(), node)) {
      const bool leaf = play.first_child(node) < 0;
      return {node, play.pick(residual, leaf ? Purpose::kBonus : Purpose::kResidual)};
    } else {
      residual = play.saved(play.parent(node));
      play.reject(residual, node);
      child = play.next_sibling(node);
    }
  }
}

// K-SEQ: siblings drawn independently are accepted with min(1, target / (ratio * draft)), ratio in
// [1, k] as small as losslessness allows. Sun et al. 2023 (SpecTr, arXiv 2310.15141).
struct KseqRule {
  double ratio;
  double drafted;  // multiple of min(draft, target / ratio) that the siblings use up together
};

template <class Backend>
ANYDRAFT_HD KseqRule kseq_rule(Backend& play, int32_t node) {
  int32_t count = 0;
  for (int32_t c = play.first_child(node); c >= 0; c = play.next_sibling(c)) ++count;
  // Sum of (1 - beta)^i, i < count: acceptance by beta, without the cancellation of 1 - (..)^count.
  const auto spread = [&](double ratio) {
    const double beta = play.overlap(node, 1 / ratio);
    double power = 1, sum = 0;
    for (int32_t i = 0; i < count; ++i) sum += power, power *= 1 - beta;
    return sum;
  };
  double low = 1, high = count;
  // Any ratio at or above the root is lossless; its upper end after 20 halvings is near enough.
  for (int step = 0; step < 20 && count > 1; ++step) {
    const double middle = (low + high) / 2;
    (spread(middle) <= middle ? high : low) = middle;
  }
  return {high, spread(high)};
}

template <class Backend>
ANYDRAFT_HD Verdict kseq(Backend& play) {
  int32_t node = 0;
  for (;;) {
    Residual residual = play.residual(node);
    int32_t child = play.first_child(node);
    if (child < 0) return {node, play.pick(residual, Purpose::kBonus)};
    const KseqRule rule = kseq_rule(play, node);
    for (; child >= 0; child = play.next_sibling(child)) {
      const double numerator = play.weight(residual, play.token(child));
      if (play.accept(numerator, rule.ratio * play.draft_mass(child), child)) break;
    }
    if (child < 0) {
      residual.drafted = rule.drafted;
      residual.cap = 1 / rule.ratio;
      return {node, play.pick(residual, Purpose::kResidual)};
    }
    node = child;
  }
}

// Sum over buckets of min(target, draft * (share + (1 - share) * highest)): its slope in `share`.
ANYDRAFT_HD inline double gain_slope(const double* target, const double* draft,
                                     const double* highest, double share) {
  double slope = 0;
  for (int b = 0; b < kBuckets; ++b) {
    const double selected = draft[b] * (share + (1 - share) * highest[b]);
    if (selected < target[b]) slope += draft[b] * (1 - highest[b]);
  }
  return slope;
}

// Which of a node's drawn tokens to go on with: the first path's with probability `share`, else the
// one highest by target / draft (by bucket; the first of equals). `selection` is that choice's
// distribution.
template <class Backend>
ANYDRAFT_HD double mix(Backend& play, int32_t node, Selection& selection) {
  int32_t count = 0;
  for (int32_t c = play.first_child(node); c >= 0; c = play.next_sibling(c)) count += play.paths(c);
  double target[kBuckets], draft[kBuckets], highest[kBuckets];
  play.histogram(node, target, draft);
  double below = 0;
  for (int b = 0; b < kBuckets; ++b) {
    // ((below + draft)^count - below^count) / draft, as a sum of positive terms.
    const double upto = below + draft[b];
    double sum = 0, power = 1;
    for (int32_t i = 0; i < count; ++i) sum = sum * below + power, power *= upto;
    highest[b] = sum;
    below = upto;
  }
  // Concave in the share: the best is where the slope changes sign.
  double low = 0, high = 1;
  if (gain_slope(target, draft, highest, 0) <= 0) high = 0;
  for (int step = 0; step < 30 && high > 0; ++step) {
    const double middle = (low + high) / 2;
    (gain_slope(target, draft, highest, middle) > 0 ? low : high) = middle;
  }
  for (int b = 0; b < kBuckets; ++b) selection.factor[b] = high + (1 - high) * highest[b];
  return high;
}

// Block verification along one of several paths drawn independently, merged to a tree where they
// agree. The distribution of the selected path stands in for the draft's: any choice is lossless.
template <class Backend>
ANYDRAFT_HD Verdict multipath(Backend& play) {
  for (int32_t node = 0; play.first_child(node) >= 0; node = play.first_child(node)) {
    Selection selection;
    const double share = mix(play, node, selection);
    int32_t chosen = play.first_child(node);
    const bool only = play.next_sibling(chosen) < 0;
    if (!only && !play.chance(share, node)) {
      for (int32_t c = play.next_sibling(chosen); c >= 0; c = play.next_sibling(c)) {
        if (play.bucket(c) > play.bucket(chosen)) chosen = c;
      }
    }
    play.select(node, chosen, selection);
  }
  return traversal(play);
}

template <class Backend>
ANYDRAFT_HD Verdict run_verifier(Verifier verifier, Backend& play) {
  switch (algorithm_of(verifier)) {
#define ANYDRAFT_ALGORITHM(function, kernel) \
  case Algorithm::function:                  \
    return function(play);
#include "anydraft/verifiers.def"
#undef ANYDRAFT_ALGORITHM
  }
  return {0, -1};  // no verifier of the list
}

// The probability each node is accepted with once it is offered (VerifyResult::acceptance), by
// every verifier but multipath. `out(node)` is a place to keep a number in, for all who play.
template <class Backend, class Out>
ANYDRAFT_HD void tell_acceptance(Verifier verifier, Backend& play, int32_t nodes, Out out) {
  const VerifierTraits traits = traits_of(verifier);
  out(0) = 1.0;
  for (int32_t node = 0; node < nodes; ++node) {
    int32_t child = play.first_child(node);
    if (child < 0) continue;
    if (traits.has(kRatio)) {
      const double ratio = kseq_rule(play, node).ratio;
      for (; child >= 0; child = play.next_sibling(child)) {
        const double kept = play.weight(play.residual(node), play.token(child));
        const double share = kept / (ratio * play.draft_mass(child));
        out(child) = share < 1 ? share : 1.0;
      }
      continue;
    }
    Residual residual =
        play.residual(node, traits.has(kJoint) ? static_cast<double>(out(node)) : 1.0);
    for (; child >= 0; child = play.next_sibling(child)) {
      out(child) = offer(play, residual, child);
      play.reject(residual, child);
    }
  }
}

}  // namespace anydraft::detail
