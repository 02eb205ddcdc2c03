#include "engine/request_state.h"

#include <algorithm>
#include <cmath>

#include "draft/source.h"
#include "engine/logit_changes.h"

namespace anydraft {
Engine::RequestState::RequestState(Drafter& drafter, const EngineOptions& options, int64_t id,
                                   Request request)
    : drafter_(drafter),
      options_(options),
      id_(id),
      request_(std::move(request)),
      committed_(request_.prompt),
      length_(drafter.pair().has_model() ? options.draft_cost : 0, options.draft_length) {
  drafter_.add(id_,
               {request_.sampling, request_.draft_sampling, request_.stop, request_.random_stream});
  finish_if_full();
}

// Tokens the round may propose: one more is always emitted.
int64_t Engine::RequestState::remaining() const {
  int64_t left = request_.max_tokens - static_cast<int64_t>(emitted.size()) - 1;
  if (const int64_t context = options_.target_context) {
    left = std::min(left, context - static_cast<int64_t>(committed_.size()));
  }
  return left;
}

// Known before anything of the round is drafted, so that the distributions stand.
int64_t Engine::RequestState::most_drafted() const {
  return options_.auto_length ? std::min(remaining(), length_.best()) : remaining();
}

void Engine::RequestState::finish_if_full() {
  if (finish != Finish::kNot || remaining() >= 0) return;
  const bool length = static_cast<int64_t>(emitted.size()) >= request_.max_tokens;
  finish = length ? Finish::kLength : Finish::kContext;
}

void Engine::RequestState::prepare() {
  if (prepared_ || finish != Finish::kNot) return;
  drafter_.propose(id_, committed_, most_drafted());
  prepared_ = true;
}

Feed Engine::RequestState::target_feed() const {
  Feed feed = target_.feed(committed_);
  const DraftTree& tree = drafter_.draft(id_).tree;
  const auto text = static_cast<int32_t>(feed.tokens.size());
  for (int32_t node = 1; node < tree.size(); ++node) {
    feed.tokens.push_back(tree.tokens[node]);
    feed.positions.push_back(feed.positions[text - 1] + tree.depths[node]);
    feed.parents.push_back(text - 1 + tree.parents[node]);  // the root is the text's last token
  }
  feed.rows = tree.size();
  return feed;
}

TokenIds Engine::RequestState::output_at(const DraftTree& tree, int32_t node) const {
  TokenIds output(committed_.begin() + static_cast<int64_t>(request_.prompt.size()),
                  committed_.end());
  const size_t end = output.size();
  for (; node > 0; node = tree.parents[node]) output.push_back(tree.tokens[node]);
  std::reverse(output.begin() + static_cast<int64_t>(end), output.end());
  return output;
}

// The rows of the tree as the request's options change them.
RowsView Engine::RequestState::changed(const RowsView& rows, const DraftTree& tree) {
  if (!request_.changes.any()) return rows;
  changed_.resize(rows.rows * rows.cols);
  for (int32_t node = 0; node < tree.size(); ++node) {
    float* logits = changed_.data() + node * rows.cols;
    for (int64_t i = 0; i < rows.cols; ++i) {
      logits[i] = detail::load(rows.row(node), rows.dtype, i);
    }
    detail::change_logits(request_.changes, request_.prompt, output_at(tree, node), request_.stop,
                          {logits, rows.cols});
  }
  return {changed_.data(), DType::kFloat32, rows.rows, rows.cols, rows.cols, rows.named_from};
}

void Engine::RequestState::judge(const RowsView& rows, int64_t first) {
  const Draft& draft = drafter_.draft(id_);
  const DraftTree& tree = draft.tree;
  const Pair& pair = drafter_.pair();
  RowsView own = rows;
  own.data = rows.row(first);
  own.rows = tree.size();
  own.named_from = rows.named_from + first;
  own = changed(own, tree);
  rows_ = own;
  int64_t vocab = own.cols;
  for (int32_t token : tree.tokens) vocab = std::max<int64_t>(vocab, token + 1);
  std::vector<const DraftRow*> drawn_from;
  for (const std::unique_ptr<DraftRow>& row : draft.rows) {
    vocab = std::max(vocab, row->projection ? row->projection->vocab : row->logits.cols);
    drawn_from.push_back(row.get());
  }
  std::vector<RowView> target;
  for (int32_t node = 0; node < tree.size(); ++node) target.push_back(own.at(node));
  const int32_t offsets[] = {0, tree.size()};
  const uint32_t stream = request_.random_stream, place = static_cast<uint32_t>(committed_.size());
  VerifyRequest request;
  request.trees = {tree.tokens.data(), tree.parents.data(), offsets, 1, tree.paths.data()};
  request.target_rows = target.data();
  request.vocab = vocab;
  request.proposals.kinds = tree.kinds.data();
  request.proposals.rows = tree.rows.data();
  request.draft_rows = drawn_from.data();
  request.draft_row_count = static_cast<int64_t>(drawn_from.size());
  request.sampling = &request_.sampling;
  request.draft_sampling = &draft.sampling;
  // Drafts that are certain, as a greedy drafter's are: what is drawn is plain decoding's text.
  const bool asked = pair.options.verifier && takes(pair.verifier(), ProposalKind::kOneHot);
  request.verifier = draft.rows.empty() && !asked ? Verifier::kMatch : pair.verifier();
  request.uniforms.seed = request_.sampling.seed.value_or(0);
  request.uniforms.requests = &stream;
  request.uniforms.positions = &place;
  verdict_ = pair.random().judge(request);
}

void Engine::RequestState::commit() {
  const DraftTree& tree = drafter_.draft(id_).tree;
  const std::vector<int32_t>& path = verdict_.accepted;
  const auto text = static_cast<int32_t>(committed_.size());
  ++counts_.target_calls;
  counts_.drafted += tree.size() - 1;
  const int32_t depth = *std::max_element(tree.depths.begin(), tree.depths.end());
  length_.learn(static_cast<int64_t>(path.size()), depth);
  std::vector<int32_t> slots;
  for (int32_t node : path) slots.push_back(text - 1 + node);
  target_.set(text, std::move(slots));
  const int32_t end = path.empty() ? 0 : path.back();
  const bool leaf = std::find(tree.parents.begin(), tree.parents.end(), end) == tree.parents.end();
  for (size_t i = 0; i <= path.size() && finish == Finish::kNot; ++i) {
    const bool drafted = i < path.size();
    const int32_t token =
        drafted ? tree.tokens[path[i]] : static_cast<int32_t>(verdict_.next_tokens[0]);
    if (request_.logprobs >= 0) {
      logprobs.push_back(detail::logprobs_of(rows_, i == 0 ? 0 : path[i - 1], request_.sampling,
                                             token, request_.logprobs));
    }
    committed_.push_back(token);
    emitted.push_back({token, drafted ? Origin::kAccepted
                              : leaf  ? Origin::kBonus
                                      : Origin::kRecovered});
    counts_.accepted += drafted;
    const auto& stop = request_.stop;
    if (std::find(stop.begin(), stop.end(), token) != stop.end()) finish = Finish::kStop;
  }
  prepared_ = false;
  finish_if_full();
  drafter_.learn(id_, rows_, 0, committed_, path);
  if (finish == Finish::kNot) drafter_.settle(id_, committed_, path);
}

// A text that is whole needs nothing more.
void Engine::RequestState::fail(std::exception_ptr why) {
  if (finish != Finish::kNot) return;
  finish = Finish::kError;
  error = std::move(why);
}

void Engine::RequestState::resume() {
  if (finish != Finish::kError) return;
  finish = Finish::kNot;
  error = nullptr;
  drafter_.retry(id_);
}

Stats Engine::RequestState::stats() const {
  Stats stats = counts_;
  static_cast<DraftStats&>(stats) = drafter_.stats(id_);
  return stats;
}

}  // namespace anydraft
