#include "anydraft/session.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <random>

#include "anydraft/error.h"
#include "session/job.h"

namespace anydraft {
namespace {

constexpr int32_t kLongestDraft = 65536;

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorKind::kValue, "[Session] expected " + what);
}

int64_t request_of(const Feed& feed) { return feed.request & ~int64_t{1}; }

// What the options promise must be possible together, whatever will be drafted.
void check_drafts(const SessionOptions& options) {
  options.tree.validate();
  options.stop_rule.validate();
  if (options.stop_rule.general() && options.bridge != Bridge::kSlrs) {
    fail("the stop rule of one drafter token for every bridge but \"slrs\", got another");
  }
  if (options.scheme == ProposalKind::kSparse)
    fail("a sampling scheme over the drafter's rows, got sparse");
  if (!options.verifier) return;
  const bool certain = options.bridge == Bridge::kSlem || options.bridge == Bridge::kLookup;
  const ProposalKind scheme = certain ? ProposalKind::kOneHot : options.scheme;
  if (!takes(*options.verifier, scheme)) {
    fail(std::string("a verifier that takes proposals of kind ") + name_of(scheme) +
         ", got one that does not");
  }
  const auto& widths = options.tree.widths;
  const bool chain = options.tree.max_nodes == 0 &&
                     std::all_of(widths.begin(), widths.end(), [](int32_t w) { return w == 1; });
  if (*options.verifier == Verifier::kBlock && (!chain || certain)) {
    fail("a chain with verifier block, got a tree");
  }
  const bool paths =
      options.tree.max_nodes == 0 &&
      std::all_of(widths.begin() + !widths.empty(), widths.end(), [](int32_t w) { return w == 1; });
  if (*options.verifier == Verifier::kMultipath && !paths) {
    fail("a tree like 4,1,1 (paths that only merge) with verifier multipath");
  }
}

}  // namespace

Session::Session(std::shared_ptr<const Vocabulary> target,
                 std::shared_ptr<const Vocabulary> drafter, SessionOptions options,
                 std::shared_ptr<const VocabularyMap> map,
                 std::shared_ptr<const DraftTokenTrie> token_trie)
    : shared_(new Shared{{std::move(target), std::move(drafter), std::move(map),
                          std::move(token_trie), options}}) {
  if (!options.random_source) shared_->options.random_source = std::make_shared<RandomSource>();
  if (!shared_->target) fail("a target vocabulary, got none");
  if (options.draft_length < 0 || options.draft_length > kLongestDraft) {
    fail("draft_length in [0, " + std::to_string(kLongestDraft) + "], got " +
         std::to_string(options.draft_length));
  }
  if (!(options.draft_confidence >= 0 && options.draft_confidence <= 1)) {
    fail("draft_confidence in [0, 1], got " + std::to_string(options.draft_confidence));
  }
  if (!(options.draft_cost >= 0)) {
    fail("draft_cost >= 0, got " + std::to_string(options.draft_cost));
  }
  check_drafts(options);
  if (!shared_->across()) return;
  if (!shared_->drafter) fail("a drafter vocabulary for this bridge, got none");
  if (!shared_->map) {
    shared_->map = std::make_shared<VocabularyMap>(*shared_->drafter, *shared_->target);
  }
  if (options.bridge == Bridge::kTli && shared_->map->shared == 0) {
    throw Error(ErrorKind::kVocabulary,
                "[Session] expected vocabularies that share tokens for bridge \"tli\", got none in "
                "common: bridge=\"slem\" needs none");
  }
  if (options.bridge != Bridge::kSlrs && options.bridge != Bridge::kAuto) return;
  if (!shared_->token_trie) {
    shared_->token_trie =
        std::make_shared<DraftTokenTrie>(*shared_->drafter, *shared_->target, *shared_->map);
  }
  if (options.bridge == Bridge::kSlrs && shared_->token_trie->size() == 0) {
    throw Error(ErrorKind::kVocabulary,
                "[Session] expected drafter tokens whose bytes the target can spell for bridge "
                "\"slrs\", got none");
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
  if (!request.sampling.seed) {
    std::random_device random;
    request.sampling.seed = uint64_t{random()} << 32 | random();
  }
  static std::atomic<int64_t> ids{0};
  const int64_t id = ids.fetch_add(2);  // the odd numbers are the drafter's caches
  jobs_.emplace(id, std::make_unique<Job>(*shared_, std::move(request)));
  return id;
}

void Session::cancel(int64_t id) {
  resume(id);
  if (job(id).finish == Finish::kNot) job(id).finish = Finish::kCancelled;
}

void Session::check(int64_t id) const {
  if (job(id).finish == Finish::kError) std::rethrow_exception(job(id).error);
}

void Session::resume(int64_t id) {
  Job& request = job(id);
  if (request.finish != Finish::kError) return;
  request.finish = Finish::kNot;
  request.error = nullptr;
}

void Session::forget(int64_t id) {
  job(id);
  jobs_.erase(id);
}

// The drafter runs until every request has its draft; then one call of the target serves them all.
Work Session::next() {
  pending_ = {};
  const auto add_feed = [this](int64_t cache, Feed feed) {
    feed.request = cache;
    pending_.feeds.push_back(std::move(feed));
  };
  for (const auto& [id, job] : jobs_) {
    try {
      job->prepare();
    } catch (const std::exception&) {
      job->fail(std::current_exception());
    }
    if (job->drafting()) add_feed(id + 1, job->draft_feed());
  }
  if (!pending_.feeds.empty()) {
    pending_.model = Model::kDrafter;
    return pending_;
  }
  for (const auto& [id, job] : jobs_) {
    if (job->verifying()) add_feed(id, job->target_feed());
  }
  if (!pending_.feeds.empty()) pending_.model = Model::kTarget;
  return pending_;
}

void Session::failed() {
  for (const Feed& feed : pending_.feeds) {
    const auto found = jobs_.find(request_of(feed));
    if (found != jobs_.end()) found->second->failed(pending_.model);
  }
  pending_ = {};
}

void Session::feed(const RowsView& logits) {
  if (pending_.model == Model::kIdle) fail("next() before feed(): no rows are wanted");
  try {
    take(logits);
  } catch (...) {
    failed();  // the models' caches hold what was fed, and the slots they kept have moved up
    throw;
  }
  pending_ = {};
}

void Session::take(const RowsView& logits) {
  int64_t expected = 0;
  for (const Feed& feed : pending_.feeds) expected += feed.rows;
  if (logits.rows != expected || logits.cols < 1) {
    fail("logits [" + std::to_string(expected) + ", vocab] from the " +
         (pending_.model == Model::kDrafter ? "drafter" : "target") + ", got [" +
         std::to_string(logits.rows) + ", " + std::to_string(logits.cols) + "]");
  }
  int64_t row = 0;
  for (const Feed& feed : pending_.feeds) {
    const auto found = jobs_.find(request_of(feed));
    if (found != jobs_.end() && found->second->finish == Finish::kNot) {
      take(*found->second, logits, row);
    }
    row += feed.rows;
  }
}

// The rows of one request: what goes wrong with them is its own affair.
void Session::take(Job& job, const RowsView& logits, int64_t first) {
  try {
    if (pending_.model == Model::kDrafter) {
      job.feed_draft(logits, first);
    } else {
      job.commit(job.judge(logits, first), logits, first);
    }
  } catch (const std::exception&) {
    job.failed(pending_.model);
    job.fail(std::current_exception());
  }
}

const std::vector<Emitted>& Session::emitted(int64_t id) const { return job(id).emitted; }
Finish Session::finish(int64_t id) const { return job(id).finish; }
Stats Session::stats(int64_t id) const { return job(id).stats; }

}  // namespace anydraft
