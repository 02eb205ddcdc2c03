#include "draft/model_source.h"

#include <algorithm>

#include "anydraft/error.h"

namespace anydraft {

TreeShape shape_for(const DrafterOptions& options, int64_t remaining) {
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

ModelSource::ModelSource(const Pair& pair, Bridge bridge, const DraftRequest& request,
                         DraftStats& stats, DraftPolicy* policy,
                         std::shared_ptr<DrafterCache> cache)
    : round_(pair, bridge, request, stats, std::move(cache)),
      bridge_(make_bridge(round_)),
      policy_(policy) {}

void ModelSource::start(const TokenIds& committed, int64_t remaining) {
  round_.draft = {};
  round_.draft.bridge = round_.bridge;
  round_.draws = 0;
  round_.confidence = 1;
  round_.position = static_cast<uint32_t>(committed.size());
  frontier_.clear();
  ends_.clear();
  const TreeShape shape = shape_for(round_.pair.options, remaining);
  round_.tree = DraftTree(shape);
  round_.tree.tokens[0] = round_.draft.tree.tokens[0] = committed.back();
  round_.chain = shape.is_chain();
  if (round_.pair.merges() && !shape.widths.empty()) round_.tree.paths[0] = shape.widths[0];
  const bool told = round_.feeder.start(committed);
  const int64_t longest = round_.pair.options.draft_context;
  const bool fits = longest == 0 || round_.feeder.length() + shape.levels() <= longest;
  if (told && fits) frontier_ = round_.tree.frontier();
  bridge_->start(committed, remaining);
}

std::optional<std::string> ModelSource::drafted_text() const {
  if (!round_.chain || frontier_.size() != 1) return std::nullopt;
  return bridge_->text_to(frontier_[0]);
}

void ModelSource::plan(const RowsView& rows, int64_t first, std::vector<DrawTask>& tasks) {
  const DraftTree& tree = round_.tree;
  const int32_t left = tree.most_nodes() - (tree.size() - 1);
  int32_t draws = round_.draws;
  for (size_t i = 0; i < frontier_.size(); ++i) {
    const int32_t node = frontier_[i], width = width_of(node, left);
    const RowView row = round_.pair.drafter_row(rows, first + static_cast<int64_t>(i));
    DrawTask task = bridge_->task(node, width, row, draws + 1);
    task.columns = rows.cols;
    task.inside = round_.chain ? tree.levels_below(node) - 1 : 0;
    task.confidence = round_.chain && (policy_ || round_.pair.options.draft_confidence > 0);
    if (tree.most_nodes() > 0 && i == 0) task.budget = left;
    task.follows = tree.most_nodes() > 0 && i > 0;
    tasks.push_back(std::move(task));
    draws += width;
  }
}

void ModelSource::take(const RowsView& rows, int64_t first, RowBackend& backend) {
  std::vector<Expansion> drawn;
  DraftTree& tree = round_.tree;
  int32_t draws = round_.draws, left = tree.most_nodes() - (tree.size() - 1);
  if (!round_.draft.rows.empty() && round_.draft.backend != &backend) {
    throw Error(ErrorKind::kValue, "[Drafter] expected all rows of a draft on one device");
  }
  round_.backend = &backend;
  round_.draft.backend = &backend;
  // Where a row says nothing there is no certainty to look at.
  const DraftPolicy::Step step = says_nothing(rows, first)
                                     ? DraftPolicy::Step{false, false}
                                     : this->step(round_.pair.drafter_row(rows, first));
  for (size_t i = 0; i < frontier_.size() && step.draw; ++i) {
    const RowView row = round_.pair.drafter_row(rows, first + static_cast<int64_t>(i));
    drawn.push_back(draw_next(frontier_[i], row, draws, left));
  }
  ++round_.stats.draft_calls;
  round_.feeder.fed(tree, frontier_);
  const std::vector<int32_t> expanded = frontier_;
  for (size_t i = 0; i < drawn.size(); ++i) {
    const auto children = static_cast<int32_t>(drawn[i].children.size());
    add(expanded[i], std::move(drawn[i]));
    // Inside a drafter token the same row says what follows.
    const RowView row = round_.pair.drafter_row(rows, first + static_cast<int64_t>(i));
    for (int32_t node = tree.size() - children; node < tree.size(); ++node) {
      if (round_.feeder.token(node) >= 0 || !tree.may_grow(node)) continue;
      add(node, draw_next(node, row, draws, left));
    }
  }
  round_.draws = draws;
  frontier_.clear();
  if (step.draw) ends_.push_back(tree.size() - 1);
  if (step.go_on) frontier_ = bridge_->next_frontier();
  if (frontier_.empty()) bridge_->finish();
}

// Whether a row of the frontier has no mass on the tokens of the vocabulary: a model that means
// padding drafts no further. Rows without padding are an error then, as ever.
bool ModelSource::says_nothing(const RowsView& rows, int64_t first) const {
  for (size_t i = 0; i < frontier_.size(); ++i) {
    const RowView row = round_.pair.drafter_row(rows, first + static_cast<int64_t>(i));
    if (row.cols < rows.cols && !round_.backend->has_mass(row)) return true;
  }
  return false;
}

// How many children of a node to draw, where `left` nodes may be added to the tree.
int32_t ModelSource::width_of(int32_t node, int32_t left) const {
  const DraftTree& tree = round_.tree;
  const int32_t width = round_.pair.merges() ? tree.paths[node] : tree.width_of(node);
  return tree.most_nodes() > 0 ? std::min(width, left) : width;
}

Expansion ModelSource::draw_next(int32_t node, const RowView& row, int32_t& draws, int32_t& left) {
  const int32_t width = width_of(node, left);
  if (width <= 0) return {};
  Expansion drawn = bridge_->draw(node, width, row, draws + 1);
  draws += width;
  left -= static_cast<int32_t>(drawn.children.size());
  return drawn;
}

void ModelSource::add(int32_t node, Expansion expansion) {
  DraftTree& tree = round_.tree;
  const int32_t first = tree.size();
  tree.expand(node, expansion.kind, round_.keep_row(expansion), expansion.children,
              expansion.masses, expansion.paths);
  round_.feeder.add(expansion.fed_as);
  for (int32_t child = first; child < tree.size(); ++child) {
    if (bridge_->ends(tree.tokens[child])) tree.close(child);
  }
}

// Counts a drafter's row in. Looks at the row alone, not at the token drawn from it, so that where
// a draft ends says nothing of its last token.
DraftPolicy::Step ModelSource::step(const RowView& row) {
  const double least = round_.pair.options.draft_confidence;
  if (!round_.chain || bridge_->weighs_itself() || !(policy_ || least > 0)) return {true, true};
  const double certainty = round_.backend->confidence(row);
  round_.confidence *= certainty;
  DraftPolicy::Step step{true, true};
  if (policy_) step = policy_->step(certainty);
  step.go_on &= round_.confidence >= least;
  return step;
}

void ModelSource::settle(const TokenIds& committed, const std::vector<int32_t>& path,
                         const RowsView*) {
  const std::vector<int32_t> taken = bridge_->taken_path(committed, path);
  const auto kept = static_cast<int32_t>(taken.size());
  round_.feeder.settle(taken);
  if (!policy_ || !round_.chain) return;
  policy_->judge(
      std::count_if(ends_.begin(), ends_.end(), [&](int32_t end) { return end <= kept; }));
}

}  // namespace anydraft
