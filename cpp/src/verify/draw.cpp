#include <algorithm>
#include <cmath>

#include "anydraft/detail/draws.h"
#include "anydraft/draft.h"
#include "anydraft/error.h"
#include "rows/kernels.h"
#include "rows/picks.h"

namespace anydraft {
namespace {

using detail::Distribution;
using detail::kChunk;

class KeyedDrawer {
 public:
  KeyedDrawer(const RowsView& rows, int64_t index, const SamplingParams& params, RandomKey key)
      : distribution_(make_distribution(rows, index, params, &totals_)), key_(key) {}

  int32_t pick(const int32_t* without, int32_t count, int32_t child) {
    const int32_t* end = without + count;
    if (distribution_.one_hot >= 0) {
      return std::find(without, end, distribution_.one_hot) == end ? distribution_.one_hot : -1;
    }
    const auto masses_of = [&](int64_t from, int64_t to, double* out) {
      detail::kernels().masses(distribution_, from, to, out);
      for (const int32_t* id = without; id != end; ++id) {
        if (*id >= from && *id < to) out[*id - from] = 0;
      }
    };
    left_ = totals_;
    for (const int32_t* id = without; id != end; ++id) {
      const int64_t chunk = *id / kChunk, from = chunk * kChunk;
      const int64_t to = std::min<int64_t>(from + kChunk, distribution_.size);
      double masses[kChunk];
      masses_of(from, to, masses);
      // Back to the scale of the other totals.
      left_[chunk] = detail::fold(masses, to - from) / distribution_.inverse_total;
    }
    double sum = 0;
    for (double total : left_) sum += total;
    if (!(sum > 0)) return -1;
    RandomKey key = key_;
    key.node += static_cast<uint32_t>(child);
    return detail::pick_from(distribution_.size, left_, uniform(key), masses_of);
  }

  int32_t likeliest(int32_t rank) {
    const int32_t token = highest(rank);
    return token >= 0 && mass(distribution_, token) > 0 ? token : -1;
  }

  // Ranks come in order.
  int32_t highest(int32_t rank) {
    if (chunk_max_.empty()) find_chunk_maxima();
    while (static_cast<int32_t>(found_.size()) <= rank) {
      const auto best = std::max_element(chunk_max_.begin(), chunk_max_.end());
      if (*best == -INFINITY) return -1;
      take_from(best - chunk_max_.begin());
    }
    return found_[rank];
  }

 private:
  void find_chunk_maxima() {
    for (int64_t from = 0; from < distribution_.size; from += kChunk) {
      const int64_t to = std::min<int64_t>(from + kChunk, distribution_.size);
      chunk_max_.push_back(
          detail::kernels().max(distribution_.row, distribution_.dtype, from, to, nullptr).largest);
    }
  }

  // Moves the chunk's largest entry to found_.
  void take_from(int64_t chunk) {
    const int64_t from = chunk * kChunk, to = std::min<int64_t>(from + kChunk, distribution_.size);
    int32_t token = -1;
    float second = -INFINITY;
    for (int64_t at = from; at < to; ++at) {
      const float x = detail::load(distribution_.row, distribution_.dtype, at);
      const auto id = static_cast<int32_t>(at);
      if (std::find(found_.begin(), found_.end(), id) != found_.end()) continue;
      if (token < 0 && x == chunk_max_[chunk]) {
        token = id;
      } else {
        second = std::max(second, x);
      }
    }
    found_.push_back(token);
    chunk_max_[chunk] = second;
  }

  std::vector<double> totals_, left_;
  Distribution distribution_;
  RandomKey key_;
  std::vector<float> chunk_max_;  // of the entries not in found_
  std::vector<int32_t> found_;
};

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorKind::kValue, "[draft] expected " + what);
}

}  // namespace

int32_t draw_children(ProposalKind kind, const RowsView& rows, int64_t index,
                      const SamplingParams& params, int32_t width, RandomKey key, int32_t* out) {
  if (kind == ProposalKind::kSparse) fail("a kind of distribution over a row, got sparse");
  KeyedDrawer drawer(rows, index, params, key);
  return detail::draw_children(drawer, kind, width, out);
}

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
  for (int32_t width : widths) {
    if (width < 1) fail("at least one child a level, got " + std::to_string(width));
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
