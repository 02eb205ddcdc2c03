// What every instrument knows of the request it plays, and the residual's definition.
#pragma once

#include <cstdint>

#include "anydraft/coins.h"
#include "anydraft/detail/law.h"
#include "anydraft/verify.h"

namespace anydraft::detail {

// One request's slice of the flat arrays, all [nodes].
struct Play {
  const int32_t* tokens;
  const int32_t* parents;
  const int32_t* first_child;   // -1: none
  const int32_t* next_sibling;  // in verification order; -1: none
  const LawKind* kinds;         // of the law of a node's children
  double* z;             // by child: the residual's total when it was rejected; -1: unchanged
  const double* accept;  // coins by child, or null
  const double* pick;    // coins by node, or null
  uint64_t seed;
  uint32_t request;
  uint32_t position;
};

// r after the rejection of the node's children up to and including `rejected` (-1: none).
struct Residual {
  int32_t node;
  int32_t rejected;
  double total;
};

ANYDRAFT_HD inline bool is_one_hot(const Play& play, int32_t child) {
  return play.kinds[play.parents[child]] == LawKind::kOneHot;
}

// r_j(x) = relu(r_{j-1}(x) - Z_{j-1} d_j(x)), from the scalars Z alone.
ANYDRAFT_HD inline double residual_mass(const Play& play, const Residual& residual,
                                        const Law& target, const Law& draft, int32_t token) {
  double r = mass(target, token);
  if (residual.rejected < 0) return r;
  for (int32_t child = play.first_child[residual.node]; child >= 0;
       child = play.next_sibling[child]) {
    if (play.z[child] >= 0) {
      if (is_one_hot(play, child)) {
        if (token == play.tokens[child]) r = 0;
      } else {
        const double left = r - play.z[child] * mass(draft, token);
        r = left > 0 ? left : 0;
      }
    }
    if (child == residual.rejected) break;
  }
  return r;
}

ANYDRAFT_HD inline double play_coin(const Play& play, Purpose purpose, int32_t node) {
  const double* given = purpose == Purpose::kAccept ? play.accept : play.pick;
  if (given) return given[node];
  CoinKey key;
  key.seed = play.seed;
  key.request = play.request;
  key.position = play.position;
  key.node = static_cast<uint32_t>(node);
  key.purpose = purpose;
  if (purpose == Purpose::kTarget) {  // keyed by the place of the token alone, as plain decoding is
    for (int32_t at = node; at > 0; at = play.parents[at]) ++key.position;
    key.node = 0;
  }
  return coin(key);
}

// Index where the running sum first exceeds `left`, the last positive one where rounding makes the
// sum fall short (never an entry without mass); `left` becomes what remains at that entry.
ANYDRAFT_HD inline int64_t pass(const double* weights, int64_t count, double& left) {
  int64_t last = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (!(weights[i] > 0)) continue;
    if (left < weights[i]) return i;
    left -= weights[i];
    last = i;
  }
  left = weights[last];
  return last;
}

// What a walk asks of an instrument, but for how rows are read: `Rows` adds
//   void load(node)                         target_ and draft_ become the laws at a node
//   double total_of(residual)               sum of its masses, in the fixed order
//   int32_t pick_with(residual, coin)
//   void remember(child, z)                 play_.z[child] = z, seen by all who take part
template <class Rows>
class Instrument {
 public:
  ANYDRAFT_HD Residual residual(int32_t node) {
    rows().load(node);
    return {node, -1, 1.0};
  }
  ANYDRAFT_HD double weight(const Residual& residual, int32_t token) const {
    return residual_mass(play_, residual, target_, draft_, token);
  }
  ANYDRAFT_HD double draft_mass(int32_t child) const {
    return is_one_hot(play_, child) ? 1.0 : mass(draft_, token(child));
  }
  ANYDRAFT_HD void reject(Residual& residual, int32_t child) {
    const bool one_hot = is_one_hot(play_, child);
    Residual next{residual.node, child, 0};
    if (one_hot) next.total = residual.total - weight(residual, token(child));
    rows().remember(child, residual.total);
    if (!one_hot || next.total < kCancelled * residual.total) next.total = rows().total_of(next);
    if (!(next.total > 0)) {  // rounding left nothing: this rejection changes nothing
      rows().remember(child, -1);
      next.total = residual.total;
    }
    residual = next;
  }
  ANYDRAFT_HD bool accept(double numerator, double denominator, int32_t child) const {
    return play_coin(play_, Purpose::kAccept, child) * denominator < numerator;
  }
  ANYDRAFT_HD int32_t pick(const Residual& residual, int32_t node, Purpose purpose) {
    return rows().pick_with(residual, play_coin(play_, purpose, node));
  }
  ANYDRAFT_HD int32_t first_child(int32_t node) const { return play_.first_child[node]; }
  ANYDRAFT_HD int32_t next_sibling(int32_t node) const { return play_.next_sibling[node]; }
  ANYDRAFT_HD int32_t token(int32_t node) const { return play_.tokens[node]; }

 protected:
  Play play_;
  Law target_, draft_;  // of the node being visited

 private:
  ANYDRAFT_HD Rows& rows() { return static_cast<Rows&>(*this); }
};

}  // namespace anydraft::detail
