#include "session/model_draft.h"

#include <algorithm>
#include <cmath>

#include "anydraft/error.h"

namespace anydraft {

namespace {

// An id of no token, which a target with wider logits may emit and a drafter may have no row for.
bool has_padding(const TokenIds& ids, int32_t size) {
  return std::any_of(ids.begin(), ids.end(), [size](int32_t id) { return id >= size; });
}

}  // namespace

TreeShape shape_for(const SessionOptions& options, int64_t remaining) {
  TreeShape shape = options.tree;
  if (shape.widths.empty()) shape.widths.assign(options.draft_length, 1);
  const auto depth = static_cast<int32_t>(std::clamp<int64_t>(remaining, 0, shape.levels()));
  if (shape.max_nodes > 0) {
    shape.depth = depth;
  } else {
    shape.widths.resize(depth);
  }
  return shape;
}

ModelDraft::ModelDraft(const Pair& pair, const Request& request, Stats& stats,
                       std::shared_ptr<DrafterCache> cache)
    : pair_(pair),
      request_(request),
      stats_(stats),
      cache_(std::move(cache)),
      cached_(cache_->cached) {
  // A deterministic draft is right most often where it is the likeliest text.
  SamplingParams greedy;
  greedy.temperature = 0;
  sampling_ = request.draft_sampling.value_or(
      pair.options.bridge == Bridge::kSlem ? greedy : request.sampling);
  if (!pair.across()) return;
  if (!cache_->context) {
    cache_->context =
        std::make_unique<detail::DraftContext>(*pair.target, *pair.drafter, *pair.map);
  }
  context_ = cache_->context.get();
}

void ModelDraft::start(const TokenIds& committed, int64_t remaining) {
  std::vector<float> distributions =
      std::move(proposal_.distributions);  // keeps its memory: megabytes a round
  distributions.clear();
  proposal_ = {};
  proposal_.distributions = std::move(distributions);
  frontier_.clear();
  in_cache_.clear();
  fed_as_.assign(1, -1);
  distributions_ = uniforms_ = 0;
  confidence_ = 1;
  committed_ = committed;
  position_ = static_cast<uint32_t>(committed.size());
  const TreeShape shape = shape_for(pair_.options, remaining);
  tree_ = DraftTree(shape);
  tree_.tokens[0] = proposal_.tree.tokens[0] = committed.back();
  chain_ = shape.max_nodes == 0 &&
           std::all_of(shape.widths.begin(), shape.widths.end(), [](int32_t w) { return w == 1; });
  if (merges() && !shape.widths.empty()) tree_.paths[0] = shape.widths[0];
  if (context_) {
    try {
      context_->sync(committed);
    } catch (const Error&) {
      return;  // text the drafter cannot spell: a round without drafts
    }
    cached_.cut(static_cast<int64_t>(context_->fed()));
  } else if (has_padding(committed, pair_.target->size())) {
    return;
  }
  const int64_t longest = pair_.options.draft_context;
  const auto length = static_cast<int64_t>(text().size());
  const bool fits = length > 0 && (longest == 0 || length + shape.levels() <= longest);
  if (fits) frontier_ = tree_.frontier();
}

// Whether the nodes to feed now all follow the last one fed: the cache then stays as it is.
bool ModelDraft::grows_in_order() const {
  const int32_t last = in_cache_.empty() ? 0 : in_cache_.back();
  for (size_t i = 0; i < in_cache_.size(); ++i) {
    if (fed_above(in_cache_[i]) != (i == 0 ? 0 : in_cache_[i - 1])) return false;
  }
  return std::all_of(frontier_.begin(), frontier_.end(),
                     [&](int32_t node) { return fed_above(node) == last; });
}

// The nearest node above that ends a drafter token; 0: the text.
int32_t ModelDraft::fed_above(int32_t node) const {
  do {
    node = tree_.parents[node];
  } while (node > 0 && fed_as_[node] < 0);
  return node;
}

// Drafter tokens up to a node.
int32_t ModelDraft::drafter_depth(int32_t node) const {
  int32_t depth = 0;
  for (; node > 0; node = fed_above(node)) ++depth;
  return depth;
}

// In the order of the feed. A tree that branches is fed whole, so that a model need not remember
// its shape from call to call.
std::vector<int32_t> ModelDraft::nodes_to_feed() const {
  if (frontier_ == std::vector<int32_t>{0}) return {};
  if (grows_in_order()) return frontier_;
  std::vector<int32_t> nodes;
  for (int32_t node = 1; node < tree_.size(); ++node) {
    const auto first = std::find(tree_.parents.begin(), tree_.parents.end(), node);
    if (first != tree_.parents.end() && fed_as_[node] >= 0) nodes.push_back(node);
  }
  nodes.insert(nodes.end(), frontier_.begin(), frontier_.end());
  return nodes;
}

Feed ModelDraft::feed() const {
  const std::vector<int32_t> nodes = nodes_to_feed();
  if (nodes.empty()) return cached_.feed(text());
  const bool in_order = grows_in_order();
  Feed feed;
  const auto length = static_cast<int64_t>(text().size());
  feed.keep = length + (in_order ? static_cast<int64_t>(in_cache_.size()) : 0);
  for (int32_t node : nodes) {
    const auto parent = std::find(nodes.begin(), nodes.end(), fed_above(node));
    const bool here = !in_order && parent != nodes.end();
    feed.tokens.push_back(drafter_token(node));
    feed.positions.push_back(static_cast<int32_t>(length) - 1 + drafter_depth(node));
    feed.parents.push_back(here ? static_cast<int32_t>(parent - nodes.begin()) : -1);
  }
  feed.rows = static_cast<int64_t>(frontier_.size());
  return feed;
}

std::optional<std::string> ModelDraft::drafted_text() const {
  if (!chain_ || frontier_.size() != 1) return std::nullopt;
  return text_to(frontier_[0]);
}

void ModelDraft::take(const RowsView& all, int64_t first) {
  const RowsView rows = known(all);
  std::vector<Expansion> drawn;
  int32_t uniforms = uniforms_, left = tree_.most_nodes() - (tree_.size() - 1);
  const bool mute = says_nothing(all, rows.cols, first);
  for (size_t i = 0; i < frontier_.size() && !mute; ++i) {
    const int64_t row = first + static_cast<int64_t>(i);
    drawn.push_back(draw_next(frontier_[i], rows, row, uniforms, left));
  }
  ++stats_.draft_calls;
  const std::vector<int32_t> nodes = nodes_to_feed();
  if (!grows_in_order()) in_cache_.clear();
  in_cache_.insert(in_cache_.end(), nodes.begin(), nodes.end());
  cached_.set(static_cast<int64_t>(text().size()));
  if (context_) context_->mark_fed();
  const std::vector<int32_t> expanded = frontier_;
  for (size_t i = 0; i < drawn.size(); ++i) {
    add(expanded[i], drawn[i]);
    // Inside a drafter token the same row says what follows.
    for (int32_t node = tree_.size() - static_cast<int32_t>(drawn[i].children.size());
         node < tree_.size(); ++node) {
      if (fed_as_[node] >= 0 || !tree_.may_grow(node)) continue;
      add(node, draw_next(node, rows, first + static_cast<int64_t>(i), uniforms, left));
    }
  }
  uniforms_ = uniforms;
  frontier_ = mute ? std::vector<int32_t>{} : next_frontier(rows, first);
  if (frontier_.empty()) finish();
}

// Whether a row of the frontier has no mass on the first `cols` tokens, those of the vocabulary: a
// model that means padding drafts no further. Rows without mass anywhere are an error, as ever.
bool ModelDraft::says_nothing(const RowsView& rows, int64_t cols, int64_t first) const {
  const auto nothing = [&](int64_t row) {
    for (int64_t i = 0; i < cols; ++i) {
      if (detail::load(rows.row(row), rows.dtype, i) != -INFINITY) return false;
    }
    return true;
  };
  if (cols == rows.cols) return false;
  for (size_t i = 0; i < frontier_.size(); ++i) {
    if (nothing(first + static_cast<int64_t>(i))) return true;
  }
  return false;
}

std::vector<int32_t> ModelDraft::next_frontier(const RowsView& rows, int64_t row) {
  const bool last = chain_ && unsure(rows, row);
  return last ? std::vector<int32_t>{} : tree_.frontier();
}

// A node for a token that was not drawn, to be fed.
void ModelDraft::add_certain(int32_t parent, int32_t drafter_token) {
  tree_.add(parent, drafter_token);
  fed_as_.push_back(drafter_token);
}

Expansion ModelDraft::draw_next(int32_t node, const RowsView& rows, int64_t row, int32_t& uniforms,
                                int32_t& left) {
  int32_t width = merges() ? tree_.paths[node] : tree_.width_of(node);
  if (tree_.most_nodes() > 0) width = std::min(width, left);
  if (width <= 0) return {};
  Expansion drawn = draw(node, width, rows, row, uniforms + 1);
  uniforms += width;
  left -= static_cast<int32_t>(drawn.children.size());
  return drawn;
}

void ModelDraft::add(int32_t node, const Expansion& expansion) {
  const bool from_row = expansion.kind != ProposalKind::kOneHot && !expansion.children.empty();
  if (from_row) keep_distribution(expansion);
  const int32_t first = tree_.size();
  tree_.expand(node, expansion.kind, from_row ? distributions_++ : -1, expansion.children,
               expansion.masses, expansion.paths);
  fed_as_.insert(fed_as_.end(), expansion.fed_as.begin(), expansion.fed_as.end());
  for (int32_t child = first; child < tree_.size(); ++child) {
    if (ends(tree_.tokens[child])) tree_.close(child);
  }
}

// Counts a drafter's row in. Looks at the row alone, not at the token drawn from it, so that where
// a draft ends says nothing of its last token.
bool ModelDraft::unsure(const RowsView& rows, int64_t row) {
  if (pair_.options.draft_confidence <= 0) return false;
  SamplingParams greedy;
  greedy.temperature = 0;
  const int32_t likeliest = make_distribution(rows, row, greedy).one_hot;
  // No logits that may be drawn from are too large to be looked at: that would undo the draft.
  SamplingParams plain;
  plain.temperature =
      std::max(1.0, std::abs(detail::load(rows.row(row), rows.dtype, likeliest)) * 1e-6);
  confidence_ *= detail::mass(make_distribution(rows, row, plain), likeliest);
  return confidence_ < pair_.options.draft_confidence;
}

RandomKey ModelDraft::key(int32_t uniform) const {
  return {request_.sampling.seed.value_or(0), request_.random_stream, position_,
          static_cast<uint32_t>(uniform),     Purpose::kDraft,        0};
}

// Children by the session's distribution of drawing, and their masses where the tree's growth asks
// for them.
void ModelDraft::draw_from(const RowsView& row, int64_t index, const SamplingParams& params,
                           int32_t width, int32_t uniform, Expansion& expansion) const {
  const ProposalKind kind = sampling_.greedy() ? ProposalKind::kOneHot : pair_.options.scheme;
  expansion.kind = kind_used(kind, width);
  std::vector<int32_t>& children = expansion.children;
  children.resize(width);
  children.resize(pair_.choose().draw(expansion.kind, row, index, params, width, key(uniform),
                                      children.data()));
  if (merges()) merge_equal(children, expansion.paths);
  const bool weighed = tree_.most_nodes() > 0;
  const detail::Distribution distribution =
      weighed ? make_distribution(row, index, SamplingParams{}) : detail::Distribution{};
  for (int32_t token : children) {
    expansion.masses.push_back(weighed ? detail::mass(distribution, token) : 1);
  }
}

// Keeps in the cache what the drafter has seen of the text that was committed.
void ModelDraft::settle(const TokenIds& committed, const std::vector<int32_t>& path) {
  std::vector<int32_t> slots;
  const auto length = static_cast<int32_t>(text().size());
  for (int32_t node : taken_path(committed, path)) {
    if (fed_as_[node] < 0) continue;
    const auto found = std::find(in_cache_.begin(), in_cache_.end(), node);
    if (found == in_cache_.end()) break;
    slots.push_back(length + static_cast<int32_t>(found - in_cache_.begin()));
    if (context_) context_->append(drafter_token(node));
  }
  if (cached_.size() < length) return;  // no draft this round: the cache is as it was
  cached_.set(length, std::move(slots));
  if (context_) context_->mark_fed();
}

void ModelDraft::failed() {
  cached_.cut(cached_.chain);
  in_cache_.clear();
}

}  // namespace anydraft
