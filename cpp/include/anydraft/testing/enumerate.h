// The enumerating instrument: plays the shipped walks along every branch with its exact weight, and
// so computes the output law of the source itself rather than of a copy of it.
#pragma once

#include <cstdint>
#include <vector>

#include "anydraft/verify.h"

namespace anydraft::testing {

// Models over a small vocabulary, as tables by prefix: row 0 is the empty prefix, the row of prefix
// n followed by token t is n * vocab + 1 + t.
struct ChainCase {
  RowsView target_logits;  // [prefixes, vocab], prefixes up to length draft_length
  RowsView draft_logits;   // [prefixes, vocab]
  int32_t draft_length = 1;
  LawKind law = LawKind::kRow;  // one-hot: the drafted token is verified as deterministic
  SamplingParams sampling, draft_sampling;
  Verifier verifier = Verifier::kTopDown;
};

struct Outcome {
  double weight;
  std::vector<int32_t> emitted;  // accepted tokens, then one
};

// Every outcome of one round: drafts drawn from the drafter's law, then verified. Outcomes with
// equal tokens are not merged.
std::vector<Outcome> enumerate_chain(const ChainCase& chain);

}  // namespace anydraft::testing
