// Drafts: the children of a node drawn by a distribution, and trees of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "anydraft/draft_row.h"
#include "anydraft/random.h"
#include "anydraft/rows_view.h"
#include "anydraft/sampling.h"
#include "anydraft/verify.h"

namespace anydraft {

// Draws up to `width` children from row `index` into `out` [width], in verification order, and
// returns how many: fewer where the row has no more tokens with mass. Child j takes the uniform
// `key` with node + j. Hub draws two. The distribution to verify them with is the kind asked for
// and this row. Throws Error(kNonFiniteLogits) for a bad row, Error(kValue) for kSparse.
int32_t draw_children(ProposalKind kind, const RowsView& rows, int64_t index,
                      const SamplingParams& params, int32_t width, RandomKey key, int32_t* out);

// Reads a drafter's row once, for what reading it by target ids needs; nothing where the ids are
// the target's own. `params`: how its children will be drawn; or, where the projection is `spelt`,
// how the drafter's own tokens are weighed: filters and all, and where greedy at temperature 1 or
// the lowest above it that resolves the row. Throws Error(kNonFiniteLogits) for NaN or +inf
// anywhere in the row and, where `spelt`, for -inf everywhere, Error(kValue) for a row that the
// projection does not fit.
void prepare(DraftRow& row, const SamplingParams& params);
// The same row inside a drafter token: what follows where its spelling goes on at `place`.
DraftRow inside(const DraftRow& row, TriePlace place);

// As above from a prepared row, read once; sets row.known. `params` as for prepare(), but where
// `spelt` their temperature alone: filters are in the row already. 0: no target token has mass, the
// node is a leaf, and row.known stays empty.
int32_t draw_children(ProposalKind kind, DraftRow& row, const SamplingParams& params, int32_t width,
                      RandomKey key, int32_t* out);

// What a drafter is fed for a target token drawn from a row that is not `spelt`: of the drafter's
// tokens that stand for it the likeliest, the first of equals.
int32_t drafter_id(const DraftRow& row, int32_t token);

// Behind a target token drawn from a `spelt` row: whether the drafter's token ends there.
struct Spelling {
  TriePlace place;          // where it goes on
  double ends, goes_on;     // masses of the drafter's tokens that end with the token, or go on
  int32_t drafter_id = -1;  // the likeliest of those that end, the first of equals; -1: none does
};
Spelling spell(const DraftRow& row, int32_t token);

// Masses of tokens in a prepared row without filters, out [count], at temperature 1 or the lowest
// above it that resolves the row: what dynamic trees grow by. Reads the row once.
void likelihoods(const DraftRow& row, const int32_t* tokens, int32_t count, double* out);

// The largest mass of a row of logits at temperature 1, or where that resolves nothing at the
// lowest temperature that does. Reads the row once. Throws Error(kNonFiniteLogits).
double confidence(const RowView& row);

// The kind that `width` children are drawn by: spechub and greedy_k need two; one alone is iid.
ANYDRAFT_HD inline ProposalKind kind_used(ProposalKind kind, int32_t width) {
  const bool needs_two = kind == ProposalKind::kSpecHub || kind == ProposalKind::kGreedyK;
  return needs_two && width < 2 ? ProposalKind::kIid : kind;
}

// Makes equal siblings one, in order of the first; paths[i]: how many each stands for.
void merge_equal(std::vector<int32_t>& children, std::vector<int32_t>& paths);

// How a draft tree grows. Static: every node of level i has widths[i] children. Dynamic
// (max_nodes > 0): `widths` is [children of a node]; each round expands the `beam` nodes that the
// drafter finds likeliest, to at most `depth` levels and `max_nodes` nodes beside the root. Where
// to grow next looks at the drafter's rows and drawn tokens, never at the target: any choice is
// lossless, since no drawn child is dropped.
struct TreeShape {
  std::vector<int32_t> widths;
  int32_t max_nodes = 0;
  int32_t depth = 0;
  int32_t beam = 0;

  void validate() const;  // throws Error(kValue)
  bool is_chain() const {
    const auto one = [](int32_t width) { return width == 1; };
    return max_nodes == 0 && std::all_of(widths.begin(), widths.end(), one);
  }
  int32_t levels() const { return max_nodes > 0 ? depth : static_cast<int32_t>(widths.size()); }
};

// Where string-level rejection sampling stops a drafter's sequence, to see which target token it
// begins with: by its drafter tokens, or where what has been drafted settles the next target token
// whatever follows. The budget is part of the rule, so that the distribution of what was drawn is
// known in any case: a sequence goes on only while it has at least 1 / rows of the distribution's
// mass, the likeliest first, until `rows` rows are spent; the others stop where they are. Timor et
// al. 2025.
struct StopRule {
  int32_t tokens = 1;  // drafter tokens; 0: until settled
  int32_t rows = 32;   // of the drafter, for each target token; 0: nothing is drafted
  int32_t terms =
      64;  // likeliest tokens of a row that go into the distribution; the first row's all do

  bool general() const { return tokens != 1; }
  void validate() const;  // throws Error(kValue)
};

// A tree on its way. Node 0 is the root; parents stand before their children.
class DraftTree {
 public:
  explicit DraftTree(TreeShape shape);

  // Nodes to draw children for now; empty: the draft is done.
  std::vector<int32_t> frontier() const;
  // How many children `node` may have: its level's width; in a dynamic tree no more than the node
  // budget leaves. Does not look at drawn tokens' probabilities.
  int32_t width_of(int32_t node) const;
  // The children drawn for a node, with their masses in the draft row; none: a leaf.
  void expand(int32_t node, ProposalKind kind, int32_t row, const std::vector<int32_t>& children,
              const std::vector<double>& masses, const std::vector<int32_t>& paths = {});
  int32_t add(int32_t parent, int32_t token);        // a certain child; returns its node
  int32_t child(int32_t node, int32_t token) const;  // the first one; -1: none
  bool is_leaf(int32_t node) const;
  std::vector<int32_t> path_to(int32_t node) const;        // from the root, which is left out
  int32_t most_nodes() const { return shape_.max_nodes; }  // 0: the shape is static
  bool may_grow(int32_t node) const {
    const auto at = static_cast<size_t>(node);
    return open_[at] && depths[at] < shape_.levels();
  }
  int32_t levels_below(int32_t node) const {
    return shape_.levels() - depths[static_cast<size_t>(node)];
  }
  // Say, an EOS: nothing comes after it.
  void close(int32_t node) { open_[static_cast<size_t>(node)] = false; }

  int32_t size() const { return static_cast<int32_t>(tokens.size()); }

  std::vector<int32_t> tokens, parents, rows, depths, paths;  // [nodes]
  std::vector<ProposalKind> kinds;                            // [nodes]
  std::vector<double> likelihoods;  // [nodes] product of the draft masses of the path

 private:
  TreeShape shape_;
  std::vector<bool> open_;  // [nodes] has not been expanded and may be
};

}  // namespace anydraft
