// The walks: pure functions of a draft tree, laws and coins, written once against an instrument.
//
// An instrument plays one request. It offers
//   Residual residual(node)            the target's law at the node, nothing rejected yet
//   double weight(residual, token)     its unnormalised mass r(token); residual.total = sum of r
//   double draft_mass(child)           mass of a drafted child in the law it was proposed from
//   void reject(residual&, child)      r <- relu(r - total * d_child); or r if nothing remains
//   bool accept(num, den, child)       with probability min(1, num / den)
//   int32_t pick(residual, node, purpose)                a token with law r / total
//   int32_t first_child(node), next_sibling(node), token(node)        -1: none
// CPU rows, a CUDA block and the tests' enumerating instrument all play the source below; an
// algorithm never sees a coin, so the enumerating one can follow every branch.
#pragma once

#include <cstdint>

#include "anydraft/coins.h"
#include "anydraft/detail/host_device.h"

namespace anydraft::detail {

struct Walked {
  int32_t node;        // last accepted node; 0 is the root
  int32_t next_token;  // recovered at an inner node, bonus at a leaf
};

// Recursive rejection from the root. Leviathan et al. 2023 (chains); Miao et al. 2024 (siblings).
template <class Instrument>
ANYDRAFT_HD Walked top_down(Instrument& play) {
  int32_t node = 0;
  for (;;) {
    auto residual = play.residual(node);
    const bool leaf = play.first_child(node) < 0;
    int32_t child = play.first_child(node);
    for (; child >= 0; child = play.next_sibling(child)) {
      const double numerator = play.weight(residual, play.token(child));
      if (play.accept(numerator, residual.total * play.draft_mass(child), child)) break;
      play.reject(residual, child);
    }
    if (child < 0) {
      return {node, play.pick(residual, node, leaf ? Purpose::kBonus : Purpose::kResidual)};
    }
    node = child;
  }
}

// For trees whose laws are all one-hot: draw what plain decoding would draw, with plain decoding's
// coin, and go on while the tree holds it. In law equal to top_down (Timor et al. 2025, SLEM).
template <class Instrument>
ANYDRAFT_HD Walked match(Instrument& play) {
  int32_t node = 0;
  for (;;) {
    const int32_t token = play.pick(play.residual(node), node, Purpose::kTarget);
    int32_t child = play.first_child(node);
    while (child >= 0 && play.token(child) != token) child = play.next_sibling(child);
    if (child < 0) return {node, token};
    node = child;
  }
}

}  // namespace anydraft::detail
