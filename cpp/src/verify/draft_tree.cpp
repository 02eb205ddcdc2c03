#include <algorithm>
#include <string>

#include "anydraft/draft.h"
#include "anydraft/error.h"

namespace anydraft {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorKind::kValue, "[draft] expected " + what);
}

constexpr int64_t kMostNodes = 1 << 16;

}  // namespace

void merge_equal(std::vector<int32_t>& children, std::vector<int32_t>& paths) {
  std::vector<int32_t> merged;
  for (int32_t child : children) {
    const auto found = std::find(merged.begin(), merged.end(), child);
    if (found == merged.end()) {
      merged.push_back(child);
      paths.push_back(1);
    } else {
      ++paths[found - merged.begin()];
    }
  }
  children = merged;
}

void TreeShape::validate() const {
  int64_t level = 1, nodes = max_nodes;
  for (int32_t width : widths) {
    if (width < 1) fail("at least one child a level, got " + std::to_string(width));
    if (max_nodes == 0) nodes += level *= width;
    if (nodes > kMostNodes) {
      fail("a tree of at most " + std::to_string(kMostNodes) + " nodes, got " +
           std::to_string(nodes) + " or more");
    }
  }
  if (max_nodes < 0) fail("max_nodes >= 0, got " + std::to_string(max_nodes));
  if (max_nodes == 0) return;
  if (widths.size() != 1)
    fail("one width for a dynamic tree, got " + std::to_string(widths.size()));
  if (depth < 1) fail("depth >= 1 for a dynamic tree, got " + std::to_string(depth));
  if (beam < 1) fail("beam >= 1 for a dynamic tree, got " + std::to_string(beam));
}

void StopRule::validate() const {
  if (tokens < 0) fail("a stop rule of at least one drafter token, got " + std::to_string(tokens));
  if (rows < 0) fail("a draft budget >= 0, got " + std::to_string(rows));
  if (terms < 1) fail("at least one term a row, got " + std::to_string(terms));
}

DraftTree::DraftTree(TreeShape shape)
    : tokens{0},
      parents{-1},
      rows{-1},
      depths{0},
      paths{1},
      kinds{ProposalKind::kOneHot},
      likelihoods{1},
      shape_(std::move(shape)),
      open_{true} {}

std::vector<int32_t> DraftTree::frontier() const {
  std::vector<int32_t> nodes;
  for (int32_t node = 0; node < size(); ++node) {
    if (may_grow(node)) nodes.push_back(node);
  }
  if (shape_.max_nodes == 0) return nodes;
  if (size() - 1 >= shape_.max_nodes) return {};
  const auto likelier = [this](int32_t a, int32_t b) { return likelihoods[a] > likelihoods[b]; };
  std::stable_sort(nodes.begin(), nodes.end(), likelier);
  if (static_cast<int32_t>(nodes.size()) > shape_.beam) nodes.resize(shape_.beam);
  return nodes;
}

int32_t DraftTree::width_of(int32_t node) const {
  if (shape_.max_nodes == 0) return shape_.widths[depths[node]];
  return std::min(shape_.widths[0], shape_.max_nodes - (size() - 1));
}

int32_t DraftTree::child(int32_t node, int32_t token) const {
  for (int32_t at = node + 1; at < size(); ++at) {
    if (parents[at] == node && tokens[at] == token) return at;
  }
  return -1;
}

bool DraftTree::is_leaf(int32_t node) const {
  return std::find(parents.begin(), parents.end(), node) == parents.end();
}

std::vector<int32_t> DraftTree::path_to(int32_t node) const {
  std::vector<int32_t> path;
  for (; node > 0; node = parents[node]) path.push_back(node);
  std::reverse(path.begin(), path.end());
  return path;
}

int32_t DraftTree::add(int32_t parent, int32_t token) {
  expand(parent, ProposalKind::kOneHot, -1, {token}, {1});
  return size() - 1;
}

void DraftTree::expand(int32_t node, ProposalKind kind, int32_t row,
                       const std::vector<int32_t>& children, const std::vector<double>& masses,
                       const std::vector<int32_t>& child_paths) {
  open_[node] = false;
  kinds[node] = kind;
  rows[node] = row;
  for (size_t i = 0; i < children.size(); ++i) {
    tokens.push_back(children[i]);
    parents.push_back(node);
    rows.push_back(-1);
    depths.push_back(depths[node] + 1);
    paths.push_back(child_paths.empty() ? 1 : child_paths[i]);
    kinds.push_back(ProposalKind::kOneHot);
    likelihoods.push_back(likelihoods[node] * masses[i]);
    open_.push_back(true);
  }
}

}  // namespace anydraft
