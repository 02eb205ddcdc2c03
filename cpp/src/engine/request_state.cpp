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
      committed_(request_.prompt) {
  drafter_.add(id_, request_);
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

void Engine::RequestState::finish_if_full() {
  if (finish != Finish::kNot || remaining() >= 0) return;
  const bool length = static_cast<int64_t>(emitted.size()) >= request_.max_tokens;
  finish = length ? Finish::kLength : Finish::kContext;
}

void Engine::RequestState::prepare(int64_t together) {
  if (prepared_ || finish != Finish::kNot) return;
  drafter_.propose(id_, committed_, remaining(), together);
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

bool Engine::RequestState::waits_for(const Feed& feed) const {
  if (!prepared_ || !verifying() || feed.rows != drafter_.draft(id_).tree.size()) return false;
  const auto root = static_cast<int64_t>(feed.positions.size()) - feed.rows;
  return root >= 0 && feed.positions[root] + 1 == static_cast<int64_t>(committed_.size());
}

// The rows of the tree as the request's options change them.
RowsView Engine::RequestState::changed(const RowsView& rows, const DraftTree& tree) {
  if (!request_.changes.any()) return rows;
  changed_.resize(rows.rows * rows.cols);
  TokenIds text = committed_;
  for (int32_t node = 0; node < tree.size(); ++node) {
    text.resize(committed_.size());
    for (int32_t at : tree.path_to(node)) text.push_back(tree.tokens[at]);
    float* logits = changed_.data() + node * rows.cols;
    for (int64_t i = 0; i < rows.cols; ++i) {
      logits[i] = detail::load(rows.row(node), rows.dtype, i);
    }
    detail::change_logits(request_.changes, text, request_.prompt.size(), request_.stop,
                          {logits, rows.cols});
  }
  return {changed_.data(), DType::kFloat32, rows.rows, rows.cols, rows.cols, rows.named_from};
}

Judgement& Engine::RequestState::question(const RowsView& rows, int64_t first,
                                          const RowBackend& backend) {
  judgement_.error = nullptr;
  try {
    const Draft& draft = drafter_.draft(id_);
    const DraftTree& tree = draft.tree;
    const Pair& pair = drafter_.pair();
    if (!draft.rows.empty() && draft.backend != &backend) {
      detail::fail_in_engine("rows of target and drafter on one device, got them on two");
    }
    if (!backend.in_memory() && (request_.changes.any() || request_.logprobs >= 0)) {
      detail::fail_in_engine(
          "no logprobs and no changes of logits (bias, penalties, bad_words, min_tokens, allowed "
          "ids) "
          "with rows on a CUDA device; a logits processor makes such changes there");
    }
    rows_ = rows;
    rows_.data = rows.row(first);
    rows_.rows = tree.size();
    rows_.named_from = rows.named_from + first;
    rows_ = changed(rows_, tree);
    drafts_.clear();
    drafts_.add(draft, tree.size() - 1);
    position_ = static_cast<uint32_t>(committed_.size());
    VerifyRequest& request = judgement_.request = drafts_.request(rows_);
    request.sampling = &request_.sampling;
    // Drafts that are certain, as a greedy drafter's are: what is drawn is plain decoding's text.
    const bool asked = pair.options.verifier && takes(pair.verifier(), ProposalKind::kOneHot);
    request.verifier = draft.rows.empty() && !asked ? Verifier::kMatch : pair.verifier();
    request.uniforms.seed = request_.sampling.seed.value_or(0);
    request.uniforms.requests = &request_.random_stream;
    request.uniforms.positions = &position_;
  } catch (const std::exception&) {
    judgement_.error = std::current_exception();
  }
  return judgement_;
}

// What is emitted of the kept path and the token behind it: no more than up to one that stops.
TokenIds Engine::RequestState::kept_tokens() const {
  const DraftTree& tree = drafter_.draft(id_).tree;
  TokenIds tokens;
  for (int32_t node : judgement_.result.accepted) tokens.push_back(tree.tokens[node]);
  tokens.push_back(static_cast<int32_t>(judgement_.result.next_tokens[0]));
  const auto& stop = request_.stop;
  const auto stops = std::find_first_of(tokens.begin(), tokens.end(), stop.begin(), stop.end());
  if (stops != tokens.end()) tokens.erase(stops + 1, tokens.end());
  return tokens;
}

// What may throw comes first: a round is committed in full or not at all.
void Engine::RequestState::commit() {
  if (judgement_.error) std::rethrow_exception(judgement_.error);
  const TokenIds tokens = kept_tokens();
  std::vector<int32_t> path = judgement_.result.accepted;
  std::vector<TokenLogprobs> told;
  for (size_t i = 0; i < tokens.size() && request_.logprobs >= 0; ++i) {
    told.push_back(detail::logprobs_of(rows_, i == 0 ? 0 : path[i - 1], request_.sampling,
                                       tokens[i], request_.logprobs));
  }
  logprobs.insert(logprobs.end(), told.begin(), told.end());
  emit(tokens);
  prepared_ = false;
  if (request_.stops(tokens.back())) finish = Finish::kStop;
  finish_if_full();
  path.resize(tokens.size() - 1);  // where the text ended on it
  drafter_.settle(id_, committed_, path, &rows_);
}

void Engine::RequestState::emit(const TokenIds& tokens) {
  const DraftTree& tree = drafter_.draft(id_).tree;
  const Bridge bridge = tree.size() > 1 ? drafter_.draft(id_).bridge : Bridge::kNone;
  const std::vector<int32_t>& path = judgement_.result.accepted;
  const auto text = static_cast<int32_t>(committed_.size());
  ++counts_.target_calls;
  counts_.drafted += tree.size() - 1;
  std::vector<int32_t> slots;
  for (int32_t node : path) slots.push_back(text - 1 + node);
  target_.set(text, std::move(slots));
  const bool leaf = tree.is_leaf(path.empty() ? 0 : path.back());
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool drafted = i < path.size();
    const Origin origin = drafted ? Origin::kAccepted : leaf ? Origin::kBonus : Origin::kRecovered;
    committed_.push_back(tokens[i]);
    emitted.push_back({tokens[i], origin, bridge});
    counts_.accepted += drafted;
  }
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
