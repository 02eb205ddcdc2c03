#include "verify/check.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "anydraft/error.h"

namespace anydraft {
namespace {

constexpr const char* kKindNames[] = {"one_hot", "iid",      "without_replacement",
                                      "spechub", "greedy_k", "sparse"};

const VerifierInfo& info_of(Verifier verifier) {
  for (const VerifierInfo& info : verifiers()) {
    if (info.verifier == verifier) return info;
  }
  throw Error(ErrorKind::kValue, "[verify] expected a verifier of this build, got none");
}

}  // namespace

const char* name_of(ProposalKind kind) { return kKindNames[static_cast<int32_t>(kind)]; }

bool takes(Verifier verifier, ProposalKind kind) {
  // No name of a kind is part of another's.
  return std::strstr(info_of(verifier).proposals, name_of(kind)) != nullptr;
}

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
  for (int32_t i = proposals.sparse_offsets[at]; i < proposals.sparse_offsets[at + 1];
       ++i) {
    const int32_t id = proposals.ids[i];
    if (id < 0 || id >= all.target_logits.cols) {
      fail("ids of a sparse distribution in [0, " + std::to_string(all.target_logits.cols) +
           "), got " + std::to_string(id) + place(request, node));
    }
    if (!(proposals.masses[i] >= 0) || std::isinf(proposals.masses[i])) {
      fail("finite masses >= 0 of a sparse distribution, got " +
           std::to_string(proposals.masses[i]) + place(request, node));
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

// The distribution of a node that has children.
void check_distribution(const VerifyRequest& all, int64_t request, int64_t node) {
  const int64_t at = all.trees.offsets[request] + node;
  const ProposalKind kind = all.proposals.kinds[at];
  if (!takes(all.verifier, kind)) {
    const VerifierInfo& info = info_of(all.verifier);
    fail(std::string("proposals ") + info.proposals + " with verifier " + info.name +
         ", got " + name_of(kind) + place(request, node));
  }
  if (kind == ProposalKind::kOneHot) return;
  if (kind == ProposalKind::kSparse) return check_sparse(all, request, node);
  const int32_t row = all.proposals.rows[at];
  if (row < 0 || row >= all.draft_logits.rows) {
    fail("a row of draft_logits in [0, " + std::to_string(all.draft_logits.rows) + "), got " +
         std::to_string(row) + place(request, node));
  }
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
  if (all.verifier == Verifier::kBlock && parent != node - 1) {
    fail("a chain with verifier block, got parent " + std::to_string(parent) +
         place(request, node));
  }
  if (token < 0 || token >= all.target_logits.cols) {
    fail("a token in [0, " + std::to_string(all.target_logits.cols) + "), got " +
         std::to_string(token) + place(request, node));
  }
  if (all.trees.paths && (all.trees.paths[at] < 1 || all.trees.paths[at] > kMostPaths)) {
    fail("1 to " + std::to_string(kMostPaths) + " paths through a node, got " +
         std::to_string(all.trees.paths[at]) + place(request, node));
  }
  check_distribution(all, request, parent);
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
  if (request.target_logits.cols < 1) fail("a vocabulary of at least one token, got 0");
  if (request.target_logits.rows != trees.nodes()) {
    fail("target_logits [" + std::to_string(trees.nodes()) + ", vocab], got " +
         std::to_string(request.target_logits.rows) + " rows");
  }
  if (request.draft_logits.data && request.draft_logits.cols != request.target_logits.cols) {
    fail("draft_logits [rows, " + std::to_string(request.target_logits.cols) + "], got " +
         std::to_string(request.draft_logits.cols) + " columns");
  }
  const UniformsView& uniforms = request.uniforms;
  if (request.verifier == Verifier::kMultipath && uniforms.accept && !uniforms.select) {
    fail("select uniforms with verifier multipath, got accept and pick uniforms alone");
  }
  if (request.verifier == Verifier::kMultipath && request.want_acceptance) {
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
