#include "anydraft/session.h"

#include "anydraft/error.h"
#include "session/job.h"

namespace anydraft {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorKind::kValue, "[Session] expected " + what);
}

}  // namespace

Session::Session(std::shared_ptr<const Vocabulary> target,
                 std::shared_ptr<const Vocabulary> drafter, SessionOptions options)
    : shared_(new Shared{std::move(target), std::move(drafter), nullptr, options}) {
  if (!shared_->target) fail("a target vocabulary, got none");
  if (options.draft_length < 0) {
    fail("draft_length >= 0, got " + std::to_string(options.draft_length));
  }
  if (!(options.draft_confidence >= 0 && options.draft_confidence <= 1)) {
    fail("draft_confidence in [0, 1], got " + std::to_string(options.draft_confidence));
  }
  if (!shared_->across()) return;
  if (!shared_->drafter) fail("a drafter vocabulary for this bridge, got none");
  shared_->map = std::make_unique<VocabularyMap>(*shared_->drafter, *shared_->target);
  if (options.bridge == Bridge::kTli && shared_->map->shared == 0) {
    throw Error(ErrorKind::kVocabulary,
                "[Session] expected vocabularies that share tokens for bridge \"tli\", got none in "
                "common: bridge=\"slem\" needs none");
  }
}

Session::~Session() = default;

Session::Job& Session::job(int64_t id) const {
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) fail("the id of a request, got " + std::to_string(id));
  return *found->second;
}

int64_t Session::add(Request request) {
  request.sampling.validate();
  if (request.draft_sampling) request.draft_sampling->validate();
  if (request.prompt.empty()) fail("a prompt of at least one token, got an empty one");
  for (int32_t token : request.prompt) {
    if (token < 0) fail("prompt tokens >= 0, got " + std::to_string(token));
  }
  if (request.max_new_tokens < 0) {
    fail("max_new_tokens >= 0, got " + std::to_string(request.max_new_tokens));
  }
  const int64_t context = shared_->options.target_context;
  if (context > 0 && static_cast<int64_t>(request.prompt.size()) > context) {
    fail("a prompt of at most " + std::to_string(context) + " tokens (the target's context), got " +
         std::to_string(request.prompt.size()));
  }
  jobs_.emplace(next_id_, std::make_unique<Job>(*shared_, std::move(request)));
  return next_id_++;
}

void Session::cancel(int64_t id) {
  if (job(id).finish == Finish::kNot) job(id).finish = Finish::kCancelled;
}

void Session::forget(int64_t id) {
  job(id);
  jobs_.erase(id);
}

// The drafter runs until every request has its draft; then one call of the target serves them all.
Work Session::next() const {
  Work work;
  for (const auto& [id, job] : jobs_) {
    if (job->drafting()) work.feeds.push_back(job->draft_feed(id));
  }
  if (!work.feeds.empty()) {
    work.model = Model::kDrafter;
    return work;
  }
  for (const auto& [id, job] : jobs_) {
    if (job->verifying()) work.feeds.push_back(job->target_feed(id));
  }
  if (!work.feeds.empty()) work.model = Model::kTarget;
  return work;
}

void Session::feed(const RowsView& logits) {
  const Work work = next();
  int64_t expected = 0;
  for (const Feed& feed : work.feeds) expected += feed.rows;
  if (logits.rows != expected || logits.cols < 1) {
    fail("logits [" + std::to_string(expected) + ", vocab] from the " +
         (work.model == Model::kDrafter ? "drafter" : "target") + ", got [" +
         std::to_string(logits.rows) + ", " + std::to_string(logits.cols) + "]");
  }
  int64_t row = 0;
  if (work.model == Model::kDrafter) {
    for (const Feed& feed : work.feeds) job(feed.request).feed_draft(logits, row++);
    return;
  }
  std::vector<VerifyResult> results;
  for (const Feed& feed : work.feeds) {
    results.push_back(job(feed.request).judge(logits, row));
    row += feed.rows;
  }
  for (size_t i = 0; i < results.size(); ++i) job(work.feeds[i].request).commit(results[i]);
}

const std::vector<Emitted>& Session::emitted(int64_t id) const { return job(id).emitted; }
Finish Session::finish(int64_t id) const { return job(id).finish; }
Stats Session::stats(int64_t id) const { return job(id).stats; }

}  // namespace anydraft
