#include "verify/check.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>

#include "anydraft/error.h"
#include "base/shown.h"
#include "rows/draft_rows.h"

namespace anydraft {
namespace {

constexpr const char* kKindNames[] = {"one_hot", "iid",      "without_replacement",
                                      "spechub", "greedy_k", "sparse"};

const VerifierInfo& info_of(Verifier verifier) {
  return verifiers()[static_cast<size_t>(verifier)];
}

}  // namespace

const char* name_of(ProposalKind kind) { return kKindNames[static_cast<int32_t>(kind)]; }

namespace detail {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorKind::kValue, "[verify] expected " + what);
}

std::string place(int64_t request, int64_t node) {
  return " at request " + std::to_string(request) + ", node " + std::to_string(node);
}

// A sparse distribution: distinct ids of the vocabulary, masses that add up to something.
void check_sparse(const VerifyRequest& all, int64_t request, int64_t node) {
  const ProposalsView& proposals = all.proposals;
  const int64_t at = all.trees.offsets[request] + node;
  if (!proposals.sparse_offsets)
    fail("ids and masses for a sparse distribution, got none" + place(request, node));
  double total = 0;
  for (int32_t i = proposals.sparse_offsets[at]; i < proposals.sparse_offsets[at + 1]; ++i) {
    const int32_t id = proposals.ids[i];
    if (id < 0 || id >= all.vocabulary()) {
      fail("ids of a sparse distribution in [0, " + std::to_string(all.vocabulary()) + "), got " +
           std::to_string(id) + place(request, node));
    }
    if (!(proposals.masses[i] >= 0) || std::isinf(proposals.masses[i])) {
      fail("finite masses >= 0 of a sparse distribution, got " + shown(proposals.masses[i]) +
           place(request, node));
    }
    const int32_t* begin = proposals.ids + proposals.sparse_offsets[at];
    if (std::find(begin, proposals.ids + i, id) != proposals.ids + i) {
      fail("distinct ids of a sparse distribution, got " + std::to_string(id) + " twice" +
           place(request, node));
    }
    total += proposals.masses[i];
  }
  if (!(total > 0)) fail("a sparse distribution with mass, got none" + place(request, node));
}

// A row as prepare() and draw_children() leave it for the parameters it was drawn with.
void check_draft_row(const VerifyRequest& all, const DraftRow& row, int64_t request, int64_t node) {
  const auto expect = [&](bool holds, const std::string& expected, int64_t got) {
    if (!holds) fail(expected + ", got " + std::to_string(got) + place(request, node));
  };
  expect(row.logits.data != nullptr && row.logits.cols > 0, "a draft row of logits", 0);
  const int64_t width = row.projection ? row.projection->vocab : row.logits.cols;
  expect(width <= all.vocabulary(),
         "a draft row over at most " + std::to_string(all.vocabulary()) + " target tokens", width);
  if (row.projection) {
    expect(row.logits.cols >= row.projection->draft_vocab,
           "a draft row of " + std::to_string(row.projection->draft_vocab) + " columns",
           row.logits.cols);
    const int64_t groups = is_inside(row) ? 0 : row.projection->map[0];
    expect(static_cast<int64_t>(row.merged.size()) == groups, "a draft row that was prepared",
           static_cast<int64_t>(row.merged.size()));
  }
  const float scale = scale_of(all.draft_params(request).temperature);
  if (row.known && row.known->scale != scale) {
    fail("a distribution at draft_sampling's temperature" + place(request, node) +
         ", got another's");
  }
}

// The distribution of a node that has children.
void check_distribution(const VerifyRequest& all, int64_t request, int64_t node) {
  const int64_t at = all.trees.offsets[request] + node;
  const ProposalKind kind = all.proposals.kinds[at];
  if (static_cast<uint32_t>(kind) >= std::size(kKindNames)) {
    fail("a kind of proposals, got number " + std::to_string(static_cast<int32_t>(kind)) +
         place(request, node));
  }
  if (!takes(all.verifier, kind)) {
    const VerifierInfo& info = info_of(all.verifier);
    fail(std::string("proposals ") + info.proposals + " with verifier " + info.name + ", got " +
         name_of(kind) + place(request, node));
  }
  if (kind == ProposalKind::kOneHot) return;
  if (kind == ProposalKind::kSparse) return check_sparse(all, request, node);
  const int32_t row = all.proposals.rows[at];
  if (row < 0 || row >= all.draft_rows_given()) {
    fail("a row of draft_logits in [0, " + std::to_string(all.draft_rows_given()) + "), got " +
         std::to_string(row) + place(request, node));
  }
  if (all.draft_rows) check_draft_row(all, *all.draft_rows[row], request, node);
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
  if (traits_of(all.verifier).shape == DraftShape::kChain && parent != node - 1) {
    fail(std::string("a chain with verifier ") + info_of(all.verifier).name + ", got parent " +
         std::to_string(parent) + place(request, node));
  }
  if (token < 0 || token >= all.vocabulary()) {
    fail("a token in [0, " + std::to_string(all.vocabulary()) + "), got " + std::to_string(token) +
         place(request, node));
  }
  if (all.trees.paths && (all.trees.paths[at] < 1 || all.trees.paths[at] > kMostPaths)) {
    fail("1 to " + std::to_string(kMostPaths) + " paths through a node, got " +
         std::to_string(all.trees.paths[at]) + place(request, node));
  }
  check_distribution(all, request, parent);
}

void check_target_rows(const VerifyRequest& all) {
  for (int64_t node = 0; node < all.trees.nodes(); ++node) {
    const RowView& row = all.target_rows[node];
    if (row.data && row.cols > 0 && row.cols <= all.vocabulary()) continue;
    fail("target rows of 1 to " + std::to_string(all.vocabulary()) + " columns, got " +
         std::to_string(row.data ? row.cols : 0) + " at node " + std::to_string(node));
  }
}

}  // namespace

void check_request(const VerifyRequest& request, int64_t index) {
  request.target_params(index).validate();
  request.draft_params(index).validate();
  const TreesView& trees = request.trees;
  const int64_t nodes = trees.offsets[index + 1] - trees.offsets[index];
  if (nodes < 1) fail("at least the root, got an empty tree at request " + std::to_string(index));
  for (int64_t node = 0; node < nodes; ++node) check_node(request, index, node);
}

void check(const VerifyRequest& request) {
  const TreesView& trees = request.trees;
  if (trees.offsets[0] != 0) fail("offsets to start at 0, got " + std::to_string(trees.offsets[0]));
  for (int64_t i = 0; i < trees.requests; ++i) {
    if (trees.offsets[i + 1] < trees.offsets[i]) fail("offsets that do not decrease");
  }
  if (request.vocabulary() < 1) fail("a vocabulary of at least one token, got 0");
  if (request.target_rows) check_target_rows(request);
  if (!request.target_rows && request.target_logits.rows != trees.nodes()) {
    fail("target_logits [" + std::to_string(trees.nodes()) + ", vocab], got " +
         std::to_string(request.target_logits.rows) + " rows");
  }
  if (!request.target_rows && request.target_logits.cols > request.vocabulary()) {
    fail("target_logits of at most " + std::to_string(request.vocabulary()) + " columns, got " +
         std::to_string(request.target_logits.cols));
  }
  if (request.draft_logits.data && request.draft_logits.cols != request.vocabulary()) {
    fail("draft_logits [rows, " + std::to_string(request.vocabulary()) + "], got " +
         std::to_string(request.draft_logits.cols) + " columns");
  }
  const UniformsView& uniforms = request.uniforms;
  const bool selects = traits_of(request.verifier).has(kSelects);
  if (selects && uniforms.accept && !uniforms.select) {
    fail("select uniforms with verifier multipath, got accept and pick uniforms alone");
  }
  if (selects && request.want_acceptance) {
    fail(
        "a verifier whose nodes' acceptance can be told: multipath selects a path by uniforms "
        "first");
  }
  if (request.report_status) return;
  for (int64_t i = 0; i < trees.requests; ++i) check_request(request, i);
}

void append_path(const VerifyRequest& request, int64_t index, const Verdict& verdict,
                 VerifyResult& result) {
  const int32_t* parents = request.trees.parents + request.trees.offsets[index];
  const size_t begin = result.accepted.size();
  for (int32_t node = verdict.node; node > 0; node = parents[node]) result.accepted.push_back(node);
  std::reverse(result.accepted.begin() + static_cast<int64_t>(begin), result.accepted.end());
  result.offsets.push_back(static_cast<int32_t>(result.accepted.size()));
  result.next_tokens.push_back(verdict.next_token);
}

}  // namespace detail
}  // namespace anydraft
