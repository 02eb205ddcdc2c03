#include "session/job.h"

#include <algorithm>
#include <cmath>

#include "anydraft/error.h"
#include "bridge/tli.h"
#include "session/lookup.h"

namespace anydraft {
namespace {

CoinKey draft_key(const Request& request, uint32_t position, int32_t step) {
  return {request.sampling.seed.value_or(0), request.coin_stream, position,
          static_cast<uint32_t>(step),       Purpose::kDraft,     0};
}

}  // namespace

Session::Job::Job(const Shared& shared, Request request)
    : shared_(shared), request_(std::move(request)), committed_(request_.prompt) {
  // A deterministic draft is right most often where it is the likeliest text.
  SamplingParams greedy;
  greedy.temperature = 0;
  draft_sampling_ = request_.draft_sampling.value_or(
      shared.options.bridge == Bridge::kSlem ? greedy : request_.sampling);
  if (shared.across()) {
    context_ = std::make_unique<detail::DraftContext>(*shared.target, *shared.drafter, *shared.map);
  }
  finish_if_full();
}

// Tokens the round may propose: one more is always emitted.
int64_t Session::Job::room() const {
  int64_t left = request_.max_new_tokens - static_cast<int64_t>(emitted.size()) - 1;
  if (const int64_t context = shared_.options.target_context) {
    left = std::min(left, context - static_cast<int64_t>(committed_.size()));
  }
  return left;
}

void Session::Job::finish_if_full() {
  if (finish != Finish::kNot || room() >= 0) return;
  const bool length = static_cast<int64_t>(emitted.size()) >= request_.max_new_tokens;
  finish = length ? Finish::kLength : Finish::kContext;
}

void Session::Job::prepare() {
  if (prepared_ || finish != Finish::kNot) return;
  drafts_.clear();
  string_.clear();
  laws_.clear();
  steps_ = 0;
  confidence_ = 1;
  drafting_ = false;
  const int64_t left = room();
  limit_ = std::min<int64_t>(left, shared_.options.draft_length);
  if (limit_ > 0 && shared_.has_model()) drafting_ = fits_drafter();
  if (limit_ > 0 && shared_.options.bridge == Bridge::kLookup) {
    drafts_ = detail::look_up(committed_, limit_);
    laws_.resize(drafts_.size());
  }
  prepared_ = true;
}

// Brings the drafter's context up to date; false where this round goes without drafts.
bool Session::Job::fits_drafter() {
  size_t length = committed_.size();
  if (context_) {
    try {
      context_->sync(committed_);
    } catch (const Error&) {
      return false;  // text the drafter cannot spell
    }
    length = context_->ids().size();
  }
  const int64_t longest = shared_.options.draft_context;
  return length > 0 && (longest == 0 || static_cast<int64_t>(length) + limit_ <= longest);
}

Feed Session::Job::draft_feed(int64_t id) const {
  Feed feed{id, {}, 0, 1};
  if (context_) {
    const size_t fed = std::min(context_->fed(), context_->ids().size() - 1);
    feed.tokens.assign(context_->ids().begin() + fed, context_->ids().end());
    feed.keep = static_cast<int64_t>(fed);
    return feed;
  }
  TokenIds all = committed_;
  all.insert(all.end(), drafts_.begin(), drafts_.end());
  feed.tokens.assign(all.begin() + draft_fed_, all.end());
  feed.keep = static_cast<int64_t>(draft_fed_);
  return feed;
}

Feed Session::Job::target_feed(int64_t id) const {
  Feed feed{id, {}, static_cast<int64_t>(target_fed_), static_cast<int64_t>(drafts_.size()) + 1};
  feed.tokens.assign(committed_.begin() + target_fed_, committed_.end());
  feed.tokens.insert(feed.tokens.end(), drafts_.begin(), drafts_.end());
  return feed;
}

bool Session::Job::stops(int32_t token) const {
  return std::find(request_.stop.begin(), request_.stop.end(), token) != request_.stop.end();
}

void Session::Job::propose(int32_t token, std::vector<float> law) {
  drafts_.push_back(token);
  // A greedy draft is certain: one-hot, so that seeded text is that of plain decoding.
  laws_.push_back(draft_sampling_.greedy() ? std::vector<float>{} : std::move(law));
  if (stops(token) || static_cast<int64_t>(drafts_.size()) >= limit_) drafting_ = false;
}

void Session::Job::feed_draft(const RowsView& rows, int64_t index) {
  const double u = coin(draft_key(request_, position(), steps_ + 1));
  const auto mark = [this] {
    ++stats.draft_calls;
    ++steps_;
    if (context_) context_->mark_fed();
  };
  if (shared_.options.bridge == Bridge::kSlem) {
    RowsView known = rows;  // logits past the table (padding) are nobody's tokens
    known.cols = std::min<int64_t>(rows.cols, shared_.drafter->size());
    const int32_t token = sample_row(known, index, draft_sampling_, u);
    const bool last = unsure(known, index) || steps_ + 1 >= limit_;
    mark();
    string_.push_back(token);
    context_->append(token);
    if (shared_.drafter->is_special(token) || last) settle_string();
    return;
  }
  std::vector<float> law;
  if (shared_.options.bridge == Bridge::kTli) {
    law = detail::project(rows, index, *shared_.map, shared_.target->size(), draft_sampling_);
  } else {
    const int64_t cols = std::min<int64_t>(rows.cols, shared_.target->size());
    law.resize(cols);
    for (int64_t i = 0; i < cols; ++i) law[i] = detail::load(rows.row(index), rows.dtype, i);
  }
  if (!detail::has_mass(law)) {  // nothing on the shared tokens: propose nothing more
    mark();
    drafting_ = false;
    return;
  }
  const auto width = static_cast<int64_t>(law.size());
  const RowsView view{law.data(), DType::kFloat32, 1, width, width, index};
  const int32_t token = sample_row(view, 0, draft_sampling_, u);
  const bool last = unsure(view, 0);
  mark();
  if (context_) {
    context_->append(detail::drafter_id(rows, index, *shared_.map, token));
  } else {
    draft_fed_ = committed_.size() + drafts_.size();
  }
  propose(token, std::move(law));
  if (last) drafting_ = false;
}

// Counts a drafter's row in. Looks at the row alone, not at the token drawn from it, so that where
// a draft ends says nothing of its last token.
bool Session::Job::unsure(const RowsView& rows, int64_t index) {
  if (shared_.options.draft_confidence <= 0) return false;
  SamplingParams greedy;
  greedy.temperature = 0;
  const int32_t likeliest = make_law(rows, index, greedy).one_hot;
  confidence_ *= detail::mass(make_law(rows, index, SamplingParams{}), likeliest);
  return confidence_ < shared_.options.draft_confidence;
}

// The drafted string in the target's tokens; an unfinished character is held back.
void Session::Job::settle_string() {
  drafting_ = false;
  std::string bytes = shared_.drafter->decode(string_);
  bytes.resize(complete_utf8(bytes));
  const int32_t last = string_.back();
  try {
    drafts_ = shared_.target->encode(bytes);
  } catch (const Error&) {
    drafts_.clear();  // bytes the target cannot spell
  }
  if (shared_.drafter->is_special(last) && shared_.map->to_target[last] >= 0) {
    drafts_.push_back(shared_.map->to_target[last]);
  }
  const auto stop =
      std::find_if(drafts_.begin(), drafts_.end(), [this](int32_t t) { return stops(t); });
  if (stop != drafts_.end()) drafts_.erase(stop + 1, drafts_.end());
  if (static_cast<int64_t>(drafts_.size()) > room()) drafts_.resize(room());
  laws_.resize(drafts_.size());
}

VerifyResult Session::Job::judge(const RowsView& rows, int64_t first) {
  // What the target has no logit for is no token of its: the draft ends before it.
  const auto alien = std::find_if(drafts_.begin(), drafts_.end(),
                                  [&](int32_t token) { return token >= rows.cols; });
  drafts_.erase(alien, drafts_.end());
  laws_.resize(drafts_.size());
  const int32_t nodes = static_cast<int32_t>(drafts_.size()) + 1;
  TokenIds tokens = {committed_.back()}, parents, law_rows;
  tokens.insert(tokens.end(), drafts_.begin(), drafts_.end());
  std::vector<LawKind> kinds;
  std::vector<float> draft_rows;
  for (int32_t node = 0; node < nodes; ++node) {
    const bool row = node + 1 < nodes && !laws_[node].empty();
    parents.push_back(node - 1);
    kinds.push_back(row ? LawKind::kRow : LawKind::kOneHot);
    law_rows.push_back(row ? node : -1);
    if (!row) continue;
    std::vector<float> law = laws_[node];  // as wide as the target's logits, which may be padded
    law.resize(rows.cols, -INFINITY);
    draft_rows.insert(draft_rows.end(), law.begin(), law.end());
  }
  const int32_t offsets[] = {0, nodes};
  const uint32_t stream = request_.coin_stream, place = position();
  VerifyRequest request;
  request.trees = {tokens.data(), parents.data(), offsets, 1, nullptr};
  request.target_logits = rows;
  request.target_logits.data = rows.row(first);
  request.target_logits.rows = nodes;
  request.target_logits.named_from = first;
  request.laws.kinds = kinds.data();
  request.laws.rows = law_rows.data();
  if (!draft_rows.empty()) {
    request.draft_logits = {draft_rows.data(), DType::kFloat32,
                            static_cast<int64_t>(draft_rows.size()) / rows.cols, rows.cols,
                            rows.cols};
  }
  request.sampling = &request_.sampling;
  request.draft_sampling = &draft_sampling_;
  request.verifier = draft_rows.empty() ? Verifier::kMatch : Verifier::kTopDown;
  request.coins.seed = request_.sampling.seed.value_or(0);
  request.coins.requests = &stream;
  request.coins.positions = &place;
  return verify(request);
}

void Session::Job::commit(const VerifyResult& result) {
  const size_t kept = result.accepted.size();
  ++stats.target_calls;
  stats.drafted += static_cast<int64_t>(drafts_.size());
  target_fed_ = committed_.size() + kept;
  draft_fed_ = std::min(draft_fed_, committed_.size() + kept);
  const Origin last = kept == drafts_.size() ? Origin::kBonus : Origin::kRecovered;
  for (size_t i = 0; i <= kept && finish == Finish::kNot; ++i) {
    const int32_t token = i < kept ? drafts_[i] : static_cast<int32_t>(result.next_tokens[0]);
    committed_.push_back(token);
    emitted.push_back({token, i < kept ? Origin::kAccepted : last});
    if (i < kept) ++stats.accepted;
    if (stops(token)) finish = Finish::kStop;
  }
  prepared_ = false;
  finish_if_full();
}

}  // namespace anydraft
