// The enumerating backend: plays the shipped drawing and verifiers along every branch with its
// exact weight, and so computes the output distribution of the source itself rather than of a copy
// of it.
#pragma once

#include <cstdint>
#include <vector>

#include "anydraft/draft.h"
#include "anydraft/verify.h"

namespace anydraft::testing {

// Models over a small vocabulary, as tables by prefix: row 0 is the empty prefix, the row of prefix
// n followed by token t is n * vocab + 1 + t.
struct TreeCase {
  RowsView target_logits;  // [prefixes, vocab], prefixes up to the tree's depth
  RowsView draft_logits;   // [prefixes, vocab]
  TreeShape shape;
  ProposalKind drawn =
      ProposalKind::kIid;  // how children are drawn; sparse: from the `sparse` likeliest
  ProposalKind stated = ProposalKind::kIid;  // the distribution they are verified with
  int32_t sparse = 2;
  bool merge = false;  // equal siblings become one node that several paths run through (multipath)
  SamplingParams sampling, draft_sampling;
  Verifier verifier = Verifier::kTopDown;
};

struct Outcome {
  double weight;
  std::vector<int32_t> emitted;  // accepted tokens, then one
};

// Every outcome of one round: a tree drawn, then verified. Outcomes with equal tokens are not
// merged.
std::vector<Outcome> enumerate(const TreeCase& tree);

}  // namespace anydraft::testing
