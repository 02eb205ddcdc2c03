#include "testing/enumerate.h"

#include <algorithm>
#include <string>

#include "anydraft/detail/draws.h"
#include "anydraft/error.h"
#include "testing/branching.h"
#include "verify/check.h"

namespace anydraft::testing {
namespace {

BranchingDrawer drawer_for(const TreeCase& tree, int64_t row, Branches& branches) {
  BranchingDrawer drawer(tree.draft_logits, row, tree.draft_sampling, branches);
  if (tree.drawn == ProposalKind::kSparse) drawer.keep_likeliest(tree.sparse);
  return drawer;
}

struct Drawn {
  DraftTree tree;
  std::vector<int64_t> prefixes;  // [nodes]
  std::vector<int32_t> sparse_offsets = {0}, ids;
  std::vector<double> sparse_masses;
};

Drawn draw_tree(const TreeCase& tree, Branches& branches) {
  Drawn drawn{DraftTree(tree.shape), {0}, {0}, {}, {}};
  DraftTree& grown = drawn.tree;
  const int64_t vocab = tree.target_logits.cols;
  if (tree.merge) grown.paths[0] = tree.shape.widths[0];
  for (auto nodes = grown.frontier(); !nodes.empty(); nodes = grown.frontier()) {
    for (int32_t node : nodes) {
      const int32_t width = tree.merge ? grown.paths[node] : grown.width_of(node);
      if (width < 1) {
        grown.close(node);
        continue;
      }
      BranchingDrawer drawer = drawer_for(tree, drawn.prefixes[node], branches);
      std::vector<int32_t> children(width), paths;
      const ProposalKind kind = kind_used(tree.drawn, width);
      children.resize(detail::draw_children(drawer, kind, width, children.data()));
      if (tree.merge) merge_equal(children, paths);
      std::vector<double> masses;
      for (int32_t child : children) {
        masses.push_back(drawer.masses()[child]);
        drawn.prefixes.push_back(drawn.prefixes[node] * vocab + 1 + child);
      }
      const ProposalKind stated = tree.drawn == tree.stated ? kind : tree.stated;
      grown.expand(node, stated, node, children, masses, paths);
    }
  }
  return drawn;
}

void add_sparse_distributions(const TreeCase& tree, Drawn& drawn, Branches& branches) {
  for (int32_t node = 0; node < drawn.tree.size(); ++node) {
    if (drawn.tree.kinds[node] == ProposalKind::kSparse) {
      const BranchingDrawer drawer = drawer_for(tree, drawn.prefixes[node], branches);
      for (size_t id = 0; id < drawer.masses().size(); ++id) {
        if (!(drawer.masses()[id] > 0)) continue;
        drawn.ids.push_back(static_cast<int32_t>(id));
        drawn.sparse_masses.push_back(drawer.masses()[id]);
      }
    }
    drawn.sparse_offsets.push_back(static_cast<int32_t>(drawn.ids.size()));
  }
}

// Rows `prefixes` of a table, side by side.
std::vector<float> gather(const RowsView& table, const std::vector<int64_t>& prefixes) {
  std::vector<float> rows;
  for (int64_t prefix : prefixes) {
    for (int64_t i = 0; i < table.cols; ++i) {
      rows.push_back(detail::load(table.row(prefix), table.dtype, i));
    }
  }
  return rows;
}

Outcome play_once(const TreeCase& tree, detail::CpuScratch& scratch, Branches& branches) {
  Drawn drawn = draw_tree(tree, branches);
  add_sparse_distributions(tree, drawn, branches);
  const DraftTree& grown = drawn.tree;
  const int64_t vocab = tree.target_logits.cols, nodes = grown.size();
  const std::vector<int32_t> offsets = {0, grown.size()};
  const std::vector<float> target = gather(tree.target_logits, drawn.prefixes);
  const std::vector<float> draft = gather(tree.draft_logits, drawn.prefixes);
  VerifyRequest request;
  request.trees = {grown.tokens.data(), grown.parents.data(), offsets.data(), 1,
                   grown.paths.data()};
  request.target_logits = {target.data(), DType::kFloat32, nodes, vocab, vocab};
  request.draft_logits = {draft.data(), DType::kFloat32, nodes, vocab, vocab};
  request.proposals = {grown.kinds.data(), grown.rows.data(), drawn.sparse_offsets.data(),
                       drawn.ids.data(), drawn.sparse_masses.data()};
  request.sampling = &tree.sampling;
  request.draft_sampling = &tree.draft_sampling;
  request.verifier = tree.verifier;
  detail::check(request);
  EnumeratingRows play(request, scratch, branches);
  const detail::Verdict verdict = detail::run_verifier(tree.verifier, play);
  Outcome outcome{branches.weight(), {}};
  for (int32_t at = verdict.node; at > 0; at = grown.parents[at]) {
    outcome.emitted.push_back(grown.tokens[at]);
  }
  std::reverse(outcome.emitted.begin(), outcome.emitted.end());
  outcome.emitted.push_back(verdict.next_token);
  return outcome;
}

void check_tables(const TreeCase& tree) {
  tree.shape.validate();
  int64_t prefixes = 1, level = 1;
  for (int32_t i = 0; i < tree.shape.levels(); ++i) {
    level *= tree.target_logits.cols;
    prefixes += level;
  }
  if (tree.target_logits.rows < prefixes || tree.draft_logits.rows < prefixes ||
      tree.draft_logits.cols != tree.target_logits.cols) {
    throw Error(ErrorKind::kValue, "[enumerate] expected two tables of at least " +
                                       std::to_string(prefixes) + " rows and equal width");
  }
}

}  // namespace

std::vector<Outcome> enumerate(const TreeCase& tree) {
  check_tables(tree);
  std::vector<Outcome> outcomes;
  Branches branches;
  detail::CpuScratch scratch;
  do {
    branches.restart();
    outcomes.push_back(play_once(tree, scratch, branches));
  } while (branches.advance());
  return outcomes;
}

}  // namespace anydraft::testing
