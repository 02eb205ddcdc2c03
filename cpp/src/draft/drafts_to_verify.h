// Drafts as a VerifyRequest; their rows stay where the drafter left them.
#pragma once

#include <algorithm>
#include <vector>

#include "anydraft/drafter.h"

namespace anydraft {

struct DraftsToVerify {
  std::vector<int32_t> tokens, parents, paths, rows, offsets{0};
  std::vector<ProposalKind> kinds;
  std::vector<RowView> target_rows;         // [nodes]
  std::vector<const DraftRow*> drawn_from;  // what `rows` index
  std::vector<SamplingParams> draft_sampling;
  int64_t vocab = 0;

  void clear() {  // but for their memory
    for (auto* each : {&tokens, &parents, &paths, &rows}) each->clear();
    offsets.assign(1, 0);
    kinds.clear();
    target_rows.clear();
    drawn_from.clear();
    draft_sampling.clear();
    vocab = 0;
  }

  // The root of a draft and the first `length` nodes behind it.
  void add(const Draft& draft, int32_t length) {
    const DraftTree& tree = draft.tree;
    const auto before = static_cast<int32_t>(drawn_from.size());
    for (int32_t node = 0; node <= length; ++node) {
      tokens.push_back(tree.tokens[node]);
      parents.push_back(tree.parents[node]);
      paths.push_back(tree.paths[node]);
      kinds.push_back(tree.kinds[node]);
      rows.push_back(tree.rows[node] < 0 ? -1 : before + tree.rows[node]);
      // The root is committed: nothing reads its token.
      if (node > 0) vocab = std::max(vocab, int64_t{tree.tokens[node]} + 1);
    }
    for (const std::unique_ptr<DraftRow>& row : draft.rows) {
      vocab = std::max(vocab, row->projection ? row->projection->vocab : row->logits.cols);
      drawn_from.push_back(row.get());
    }
    draft_sampling.push_back(draft.sampling);
    offsets.push_back(static_cast<int32_t>(tokens.size()));
  }

  // By the target's rows [nodes]; points into this object. The target's sampling, the verifier and
  // the uniforms are the caller's to add.
  VerifyRequest request(const RowsView& target) {
    for (int64_t node = 0; node < target.rows; ++node) target_rows.push_back(target.at(node));
    VerifyRequest request;
    request.trees = {tokens.data(), parents.data(), offsets.data(),
                     static_cast<int64_t>(draft_sampling.size()), paths.data()};
    request.target_rows = target_rows.data();
    request.vocab = std::max(vocab, target.cols);
    request.proposals.kinds = kinds.data();
    request.proposals.rows = rows.data();
    request.draft_rows = drawn_from.data();
    request.draft_row_count = static_cast<int64_t>(drawn_from.size());
    request.draft_sampling = draft_sampling.data();
    return request;
  }
};

}  // namespace anydraft
