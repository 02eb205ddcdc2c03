#include "session/job.h"

#include <algorithm>
#include <cmath>

#include "anydraft/error.h"

namespace anydraft {
namespace {

// Rows [first, first + count) as wide as `width`: those of the caller, or a copy with tokens the
// model has no logit for (they have no mass).
RowsView widened(const RowsView& rows, int64_t first, int64_t count, int64_t width,
                 std::vector<float>& copy) {
  RowsView view = rows;
  view.data = rows.row(first);
  view.rows = count;
  view.named_from = rows.named_from + first;
  if (rows.cols >= width) return view;
  copy.assign(count * width, -INFINITY);
  for (int64_t row = 0; row < count; ++row) {
    for (int64_t i = 0; i < rows.cols; ++i) {
      copy[row * width + i] = detail::load(view.row(row), view.dtype, i);
    }
  }
  view.data = copy.data();
  view.dtype = DType::kFloat32;
  view.cols = view.stride = width;
  return view;
}

}  // namespace

Session::Job::Job(const Pair& pair, Request request)
    : pair_(pair),
      request_(std::move(request)),
      committed_(request_.prompt),
      drafting_(make_drafting(pair_, request_, stats)),
      length_(pair.has_model() ? pair.options.draft_cost : 0, pair.options.draft_length) {
  finish_if_full();
}

// Tokens the round may propose: one more is always emitted.
int64_t Session::Job::remaining() const {
  int64_t left = request_.max_new_tokens - static_cast<int64_t>(emitted.size()) - 1;
  if (const int64_t context = pair_.options.target_context) {
    left = std::min(left, context - static_cast<int64_t>(committed_.size()));
  }
  return left;
}

// Known before anything of the round is drafted, so that the distributions stand.
int64_t Session::Job::most_drafted() const {
  return pair_.options.auto_length ? std::min(remaining(), length_.best()) : remaining();
}

void Session::Job::finish_if_full() {
  if (finish != Finish::kNot || remaining() >= 0) return;
  const bool length = static_cast<int64_t>(emitted.size()) >= request_.max_new_tokens;
  finish = length ? Finish::kLength : Finish::kContext;
}

void Session::Job::prepare() {
  if (prepared_ || finish != Finish::kNot) return;
  drafting_->start(committed_, most_drafted());
  prepared_ = true;
}

Feed Session::Job::target_feed() const {
  Feed feed = target_.feed(committed_);
  const DraftTree& tree = drafting_->proposal().tree;
  const auto text = static_cast<int32_t>(feed.tokens.size());
  for (int32_t node = 1; node < tree.size(); ++node) {
    feed.tokens.push_back(tree.tokens[node]);
    feed.positions.push_back(feed.positions[text - 1] + tree.depths[node]);
    feed.parents.push_back(text - 1 + tree.parents[node]);  // the root is the text's last token
  }
  feed.rows = tree.size();
  return feed;
}

VerifyResult Session::Job::judge(const RowsView& rows, int64_t first) const {
  const Proposal& proposal = drafting_->proposal();
  const DraftTree& tree = proposal.tree;
  int64_t width = rows.cols;
  for (int32_t node = 1; node < tree.size(); ++node) {
    width = std::max<int64_t>(width, tree.tokens[node] + 1);
  }
  const int64_t distributions =
      proposal.distributions.empty()
          ? 0
          : static_cast<int64_t>(proposal.distributions.size()) / proposal.width;
  if (distributions > 0) width = std::max(width, proposal.width);
  std::vector<float> wide_target, wide_distributions;
  const int32_t offsets[] = {0, tree.size()};
  const uint32_t stream = request_.random_stream, place = static_cast<uint32_t>(committed_.size());
  VerifyRequest request;
  request.trees = {tree.tokens.data(), tree.parents.data(), offsets, 1, tree.paths.data()};
  request.target_logits = widened(rows, first, tree.size(), width, wide_target);
  request.proposals.kinds = tree.kinds.data();
  request.proposals.rows = tree.rows.data();
  if (distributions > 0) {
    const RowsView own{proposal.distributions.data(),
                       DType::kFloat32,
                       distributions,
                       proposal.width,
                       proposal.width,
                       0};
    request.draft_logits = widened(own, 0, distributions, width, wide_distributions);
  }
  request.sampling = &request_.sampling;
  request.draft_sampling = &proposal.sampling;
  // Drafts that are certain, as a greedy drafter's are: what is drawn is plain decoding's text.
  const Verifier wanted = pair_.options.verifier.value_or(Verifier::kTraversal);
  const bool match =
      distributions == 0 && (!pair_.options.verifier || !takes(wanted, ProposalKind::kOneHot));
  request.verifier = match ? Verifier::kMatch : wanted;
  request.uniforms.seed = request_.sampling.seed.value_or(0);
  request.uniforms.requests = &stream;
  request.uniforms.positions = &place;
  return pair_.choose().judge(request);
}

void Session::Job::commit(const VerifyResult& result, const RowsView& rows, int64_t first) {
  const DraftTree& tree = drafting_->proposal().tree;
  const std::vector<int32_t>& path = result.accepted;
  const auto text = static_cast<int32_t>(committed_.size());
  ++stats.target_calls;
  stats.drafted += tree.size() - 1;
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
        drafted ? tree.tokens[path[i]] : static_cast<int32_t>(result.next_tokens[0]);
    committed_.push_back(token);
    emitted.push_back({token, drafted ? Origin::kAccepted
                              : leaf  ? Origin::kBonus
                                      : Origin::kRecovered});
    stats.accepted += drafted;
    if (request_.stops(token)) finish = Finish::kStop;
  }
  prepared_ = false;
  finish_if_full();
  drafting_->set_target_width(rows.cols);
  drafting_->learn(rows, first, committed_, path);
  if (finish == Finish::kNot) drafting_->settle(committed_, path);
}

void Session::Job::failed(Model model) {
  if (model == Model::kTarget) {
    target_.cut(target_.chain);
  } else if (drafting()) {  // else its rows were taken before those of another request failed
    drafting_->failed();
  }
}

// A text that is whole needs nothing more.
void Session::Job::fail(std::exception_ptr why) {
  if (finish != Finish::kNot) return;
  finish = Finish::kError;
  error = std::move(why);
}

}  // namespace anydraft
