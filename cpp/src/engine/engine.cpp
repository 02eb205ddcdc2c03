#include "anydraft/engine.h"

#include <algorithm>
#include <atomic>
#include <random>
#include <set>
#include <string>
#include <utility>

#include "base/parallel.h"
#include "draft/source.h"
#include "engine/logit_changes.h"
#include "engine/request_state.h"

namespace anydraft {
namespace {

constexpr int64_t kNobody = -2;  // no request has this id, nor the drafter's cache of one

// The drafter knows a request by the number that names its cache.
int64_t drafter_request(int64_t id) { return id + 1; }

}  // namespace

Engine::Engine(std::shared_ptr<const Vocabulary> target, std::shared_ptr<const Vocabulary> drafter,
               EngineOptions options, std::shared_ptr<const VocabularyMap> map,
               std::shared_ptr<const DraftTokenTrie> token_trie)
    : options_(std::move(options)),
      drafter_(std::move(target), std::move(drafter), options_, std::move(map),
               std::move(token_trie)) {}

Engine::~Engine() = default;

Engine::RequestState* Engine::find(int64_t id) const {
  const auto found = requests_.find(id);
  return found == requests_.end() ? nullptr : found->second.get();
}

Engine::RequestState& Engine::state(int64_t id) const {
  if (RequestState* request = find(id)) return *request;
  detail::fail_in_engine("the id of a request, got " + std::to_string(id));
}

int64_t Engine::add(Request request) {
  request.changes.validate();
  if (request.prompt.empty())
    detail::fail_in_engine("a prompt of at least one token, got an empty one");
  for (int32_t token : request.prompt) {
    if (token < 0) detail::fail_in_engine("prompt tokens >= 0, got " + std::to_string(token));
  }
  if (request.max_tokens < 0) {
    detail::fail_in_engine("max_tokens >= 0, got " + std::to_string(request.max_tokens));
  }
  const int64_t context = options_.target_context;
  if (context > 0 && static_cast<int64_t>(request.prompt.size()) > context) {
    detail::fail_in_engine("a prompt of at most " + std::to_string(context) +
                           " tokens (the target's context), got " +
                           std::to_string(request.prompt.size()));
  }
  request.seeded = request.sampling.seed.has_value();
  if (!request.seeded) {
    std::random_device random;
    request.sampling.seed = uint64_t{random()} << 32 | random();
  }
  static std::atomic<int64_t> ids{0};
  const int64_t id = ids.fetch_add(2);  // the odd numbers are the drafter's caches
  requests_.emplace(id, std::make_unique<RequestState>(drafter_, options_, drafter_request(id),
                                                       std::move(request)));
  return id;
}

void Engine::cancel(int64_t id) {
  resume(id);
  if (state(id).finish == Finish::kNot) state(id).finish = Finish::kCancelled;
}

void Engine::check(int64_t id) const {
  if (state(id).finish == Finish::kError) std::rethrow_exception(state(id).error);
}

void Engine::resume(int64_t id) { state(id).resume(); }

bool Engine::any_error() const {
  return std::any_of(requests_.begin(), requests_.end(),
                     [](const auto& one) { return one.second->finish == Finish::kError; });
}

void Engine::forget(int64_t id) {
  state(id);
  requests_.erase(id);
  drafter_.forget(drafter_request(id));
}

Work Engine::next() {
  std::vector<int64_t> ids;
  for (const auto& [id, request] : requests_) ids.push_back(id);
  return next(ids);
}

// The drafter runs until every request has its draft; then one call of the target serves them all.
Work Engine::next(const std::vector<int64_t>& ids) {
  if (ids.size() > 1 && std::set<int64_t>(ids.begin(), ids.end()).size() != ids.size()) {
    detail::fail_in_engine("each request once in next(), got one twice");
  }
  Work work;
  std::vector<int64_t> drafting, verifying;
  const auto running = std::count_if(
      ids.begin(), ids.end(), [this](int64_t id) { return state(id).finish == Finish::kNot; });
  for (int64_t id : ids) {
    RequestState& request = state(id);
    try {
      request.prepare(running);
    } catch (const std::exception&) {
      request.fail(std::current_exception());
    }
    if (request.drafting()) drafting.push_back(drafter_request(id));
    if (request.verifying()) verifying.push_back(id);
  }
  if (!drafting.empty()) {
    work = {ModelRole::kDrafter, drafter_.next(drafting)};
  } else if (!verifying.empty()) {
    work.model = ModelRole::kTarget;
    for (int64_t id : verifying) {
      work.feeds.push_back(state(id).target_feed());
      work.feeds.back().request = id;
    }
  }
  return work;
}

void Engine::failed(const Work& work) {
  if (work.model == ModelRole::kDrafter) drafter_.failed(work.feeds);
  for (const Feed& feed : work.feeds) {
    RequestState* const request = work.model == ModelRole::kTarget ? find(feed.request) : nullptr;
    if (request) request->target_failed();
  }
}

void Engine::drop(Work& work, int64_t id) {
  for (Feed& feed : work.feeds) {
    if (work.model != ModelRole::kTarget || feed.request != id) continue;
    if (RequestState* const request = find(id)) request->target_failed();
    feed.request = kNobody;
  }
}

void Engine::feed(const Work& work, const RowsView& logits,
                  const std::shared_ptr<const void>& owner, const Device& device) {
  if (work.model == ModelRole::kIdle)
    detail::fail_in_engine("next() before feed(): no rows are wanted");
  const bool drafts = work.model == ModelRole::kDrafter;
  try {
    drafts ? take_draft(work, logits, owner, device)
           : take_target(work, logits, drafter_.rows_on(device));
  } catch (...) {
    failed(work);  // the models' caches hold what was fed, and the slots they kept have moved up
    throw;
  }
}

void Engine::take_draft(const Work& work, const RowsView& logits,
                        const std::shared_ptr<const void>& owner, const Device& device) {
  drafter_.feed(work.feeds, logits, owner, device);
  for (const Feed& feed : work.feeds) {
    RequestState* const request = find(feed.request - 1);
    if (!request) continue;
    if (const std::exception_ptr error = drafter_.error(feed.request)) request->fail(error);
  }
}

// All trees are judged, then committed: a bad row ends its own request alone.
void Engine::take_target(const Work& work, const RowsView& logits, RowBackend& backend) {
  check_shape("Engine", "target", work.feeds, logits);
  std::vector<std::pair<RequestState*, int64_t>> round;  // each with its first row
  int64_t row = 0;
  bool changes = false;
  for (const Feed& feed : work.feeds) {
    RequestState* const request = find(feed.request);
    if (request && request->finish == Finish::kNot) {
      if (!request->waits_for(feed)) {
        detail::fail_in_engine("rows for the last next() of a request, got those of another");
      }
      round.emplace_back(request, row);
      changes = changes || request->changes_rows();
    }
    row += feed.rows;
  }
  std::vector<Judgement*> trees(round.size());
  const auto ask = [&](int64_t i) {
    trees[i] = &round[i].first->question(logits, round[i].second, backend);
  };
  const int64_t entries = changes ? 2 * logits.cols : 0;
  detail::parallel_for(static_cast<int64_t>(round.size()), ask, entries);
  const auto failed = [](const Judgement* tree) { return tree->error != nullptr; };
  trees.erase(std::remove_if(trees.begin(), trees.end(), failed), trees.end());
  backend.judge(trees);
  for (const auto& [request, first] : round) {
    try {
      request->commit();
    } catch (const std::exception&) {
      request->target_failed();
      request->fail(std::current_exception());
    }
  }
}

const std::vector<Emitted>& Engine::emitted(int64_t id) const { return state(id).emitted; }
const std::vector<TokenLogprobs>& Engine::logprobs(int64_t id) const { return state(id).logprobs; }
Finish Engine::finish(int64_t id) const { return state(id).finish; }
Stats Engine::stats(int64_t id) const { return state(id).stats(); }

}  // namespace anydraft
