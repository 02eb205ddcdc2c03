// What every backend knows of the request it plays, and the residual's definition.
#pragma once

#include <cstdint>
#include <cstring>

#include "anydraft/detail/distribution.h"
#include "anydraft/random.h"
#include "anydraft/verify.h"

namespace anydraft::detail {

// U = relu(weight * target - drafted * draft), what is left of a node's target distribution after
// its children up to `rejected` (-1: none): every distribution of siblings subtracts multiples of
// one draft row, and certain children take single tokens away. 1 - weight is the share of the
// node's mass that other nodes have (traversal; else 0).
struct Residual {
  int32_t node;
  int32_t rejected;
  double weight;
  double drafted;  // multiple of the draft row
  double cap;      // > 0: the draft's masses are cut at cap * target (K-SEQ)
  double sum;      // of U
  ANYDRAFT_HD double total() const { return sum + (1 - weight); }
};

// Multi-path selection at one node: token x is selected with probability
// draft(x) * factor[bucket_of(target(x) / draft(x))]. Buckets of a quarter octave.
constexpr int kBuckets = 64;
// Drawn through one node: the selection's distribution takes as many steps.
constexpr int32_t kMostPaths = 1 << 16;
struct Selection {
  double factor[kBuckets];
};

ANYDRAFT_HD inline int bucket_of(double target_mass, double draft_mass) {
  if (!(target_mass > 0)) return 0;
  const double ratio = target_mass / draft_mass;
  uint64_t bits;
  memcpy(&bits, &ratio, sizeof bits);
  // Exponent and two bits of the fraction; bucket 32 begins at ratio 1.
  const int64_t bucket = static_cast<int64_t>(bits >> 50) - (int64_t{1023} << 2) + kBuckets / 2;
  return static_cast<int>(bucket < 0 ? 0 : bucket < kBuckets ? bucket : kBuckets - 1);
}

// One request's slice of the flat arrays, all [nodes] but for the sparse distributions' ids and
// masses.
struct Play {
  const int32_t* tokens;
  const int32_t* parents;
  int32_t* first_child;           // -1: none; multipath cuts them down to the selected path
  int32_t* next_sibling;          // in verification order; -1: none
  const ProposalKind* kinds;      // of the distribution of a node's children
  const int32_t* paths;           // or null
  const int32_t* sparse_offsets;  // or null
  const int32_t* ids;
  const double* masses;
  uint8_t* spent;         // by child: a certain one whose token U no longer has
  Residual* saved;        // by node: where traversal left off
  Selection* selections;  // by node; multipath only
  const double* accept;   // uniforms by node, or null
  const double* pick;
  const double* select;
  uint64_t seed;
  uint32_t request;
  uint32_t position;
};

ANYDRAFT_HD inline bool excludes_later(ProposalKind kind) {
  return kind == ProposalKind::kSpecHub || kind == ProposalKind::kGreedyK;
}

// Whether a child was proposed for certain, given its distribution.
ANYDRAFT_HD inline bool is_certain(const Play& play, int32_t child) {
  const int32_t parent = play.parents[child];
  const ProposalKind kind = play.kinds[parent];
  if (kind == ProposalKind::kOneHot) return true;
  if (!excludes_later(kind)) return false;
  const int32_t first = play.first_child[parent];
  return child != first || play.next_sibling[first] < 0;  // alone: the row's only token
}

// Whether the draft row stands for its token-level distribution without `token`: hub and greedy-k.
ANYDRAFT_HD inline bool is_later_sibling(const Play& play, int32_t node, int32_t token) {
  int32_t child = play.next_sibling[play.first_child[node]];
  for (; child >= 0; child = play.next_sibling[child]) {
    if (play.tokens[child] == token) return true;
  }
  return false;
}

ANYDRAFT_HD inline bool is_spent(const Play& play, const Residual& residual, int32_t token) {
  for (int32_t child = play.first_child[residual.node]; child >= 0;
       child = play.next_sibling[child]) {
    if (play.spent[child] && play.tokens[child] == token) return true;
    if (child == residual.rejected) break;
  }
  return false;
}

// U of a token but for tokens that certain siblings took or that the draft row leaves out.
ANYDRAFT_HD inline double plain_residual(const Residual& residual, double target_mass,
                                         double draft_mass) {
  if (residual.cap > 0 && draft_mass > residual.cap * target_mass) {
    draft_mass = residual.cap * target_mass;
  }
  const double left = residual.weight * target_mass - residual.drafted * draft_mass;
  return left > 0 ? left : 0;
}

ANYDRAFT_HD inline RandomKey random_key(const Play& play, Purpose purpose, int32_t node) {
  RandomKey key;
  key.seed = play.seed;
  key.request = play.request;
  key.position = play.position;
  key.node = static_cast<uint32_t>(node);
  key.purpose = purpose;
  if (purpose == Purpose::kTarget) {  // keyed by the place of the token alone, as plain decoding is
    for (int32_t at = node; at > 0; at = play.parents[at]) ++key.position;
    key.node = 0;
  }
  return key;
}

ANYDRAFT_HD inline double uniform_for(const Play& play, Purpose purpose, int32_t node) {
  const double* given = purpose == Purpose::kAccept   ? play.accept
                        : purpose == Purpose::kSelect ? play.select
                                                      : play.pick;
  return given ? given[node] : uniform(random_key(play, purpose, node));
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

}  // namespace anydraft::detail
