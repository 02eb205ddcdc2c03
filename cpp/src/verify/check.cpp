#include "verify/check.h"

#include <algorithm>
#include <string>

#include "anydraft/error.h"

namespace anydraft::detail {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorKind::kValue, "[verify] expected " + what);
}

std::string place(int64_t request, int64_t node) {
  return " at request " + std::to_string(request) + ", node " + std::to_string(node);
}

void check_node(const VerifyRequest& all, int64_t request, int64_t node) {
  const int64_t at = all.trees.offsets[request] + node;
  const int32_t parent = all.trees.parents[at], token = all.trees.tokens[at];
  if (node == 0) {
    if (parent != -1) {
      fail("parent -1 for the root, got " + std::to_string(parent) + place(request, node));
    }
    return;  // the root's token is already committed: nothing reads it
  }
  if (parent < 0 || parent >= node) {
    fail("a parent in [0, " + std::to_string(node) + "), got " + std::to_string(parent) +
         place(request, node));
  }
  if (token < 0 || token >= all.target_logits.cols) {
    fail("a token in [0, " + std::to_string(all.target_logits.cols) + "), got " +
         std::to_string(token) + place(request, node));
  }
  const int64_t inner = all.trees.offsets[request] + parent;
  if (all.laws.kinds[inner] == LawKind::kOneHot) return;
  const int32_t row = all.laws.rows[inner];
  if (all.verifier == Verifier::kMatch) {
    fail("one_hot laws with verifier match, got a row law" + place(request, parent));
  }
  if (row < 0 || row >= all.draft_logits.rows) {
    fail("a row of draft_logits in [0, " + std::to_string(all.draft_logits.rows) + "), got " +
         std::to_string(row) + place(request, parent));
  }
}

}  // namespace

void check(const VerifyRequest& request) {
  request.sampling.validate();
  request.draft_sampling.validate();
  const TreesView& trees = request.trees;
  if (trees.offsets[0] != 0) fail("offsets to start at 0, got " + std::to_string(trees.offsets[0]));
  if (request.target_logits.cols < 1) fail("a vocabulary of at least one token, got 0");
  if (request.target_logits.rows != trees.nodes()) {
    fail("target_logits [" + std::to_string(trees.nodes()) + ", vocab], got " +
         std::to_string(request.target_logits.rows) + " rows");
  }
  if (request.draft_logits.data && request.draft_logits.cols != request.target_logits.cols) {
    fail("draft_logits [rows, " + std::to_string(request.target_logits.cols) + "], got " +
         std::to_string(request.draft_logits.cols) + " columns");
  }
  for (int64_t i = 0; i < trees.requests; ++i) {
    const int64_t nodes = trees.offsets[i + 1] - trees.offsets[i];
    if (nodes < 1) fail("at least the root, got an empty tree at request " + std::to_string(i));
    for (int64_t node = 0; node < nodes; ++node) check_node(request, i, node);
  }
}

void check_rows(const VerifyRequest& request, int64_t bad_row) {
  if (bad_row < 0) return;
  const int64_t target_rows = request.target_logits.rows;
  const bool draft = bad_row >= target_rows;
  throw Error(ErrorKind::kNonFiniteLogits,
              std::string("[verify] expected finite logits (or -inf for masked tokens), and "
                          "|logit| / temperature below 2.9e6, got others in ") +
                  (draft ? "draft row " : "target row ") +
                  std::to_string(draft ? bad_row - target_rows : bad_row));
}

void append_path(const VerifyRequest& request, int64_t index, const Walked& walked,
                 VerifyResult& result) {
  const int32_t* parents = request.trees.parents + request.trees.offsets[index];
  const size_t begin = result.accepted.size();
  for (int32_t node = walked.node; node > 0; node = parents[node]) result.accepted.push_back(node);
  std::reverse(result.accepted.begin() + static_cast<int64_t>(begin), result.accepted.end());
  result.offsets.push_back(static_cast<int32_t>(result.accepted.size()));
  result.next_tokens.push_back(walked.next_token);
}

}  // namespace anydraft::detail
