// The decode loop without I/O: it says what to feed to which model and takes logits back.
//
//   engine.add(request);
//   for (Work work = engine.next(); work.model != ModelRole::kIdle; work = engine.next())
//     engine.feed(work, run(work));     // rows of logits, in the order of the feeds
//
// next() may be called again until feed() has taken its rows. Where feed() throws, nothing that was
// emitted is lost and next() says how to go on, so a failed model call can be repeated.
//
// The requests of an engine share its calls, not their errors: one with a bad row, or one at whose
// text an encoder of the caller's throws, ends with Finish::kError and the others go on. check()
// throws what went wrong (the message counts rows in the order of the feeds); resume() goes on from
// what was emitted, as if nothing had been.
//
// An engine is for one thread at a time; engines of several threads may share vocabularies.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "anydraft/drafter.h"

namespace anydraft {

enum class Origin : int32_t { kAccepted, kRecovered, kBonus };
enum class Finish : int32_t { kNot, kStop, kLength, kContext, kCancelled, kError };

struct EngineOptions : DrafterOptions {
  int64_t target_context = 0;  // longest text in tokens; 0: unlimited
};

// What changes the target's logits at a place of the text, before temperature and filters; in this
// order. The same along every path of a draft tree, so the text has the changed distribution.
struct LogitChanges {
  std::vector<std::pair<int32_t, float>> logit_bias;  // added
  // Logits of tokens in prompt or output are divided by it where positive, else multiplied. Keskar
  // et al. 2019.
  double repetition_penalty = 1;
  double frequency_penalty = 0;  // taken off for every time a token stands in the output
  double presence_penalty = 0;   // taken off once where it stands there
  // Sequences of ids: the last of each is ruled out where the ones before it end the text.
  std::vector<TokenIds> bad_words;
  int32_t min_tokens = 0;           // the ids that stop are ruled out before so many are emitted
  std::optional<TokenIds> allowed;  // all others are ruled out

  bool any() const;
  void validate() const;  // throws Error(kValue)
};

// `stop`: these ids are emitted. `seeded` is the engine's to say.
struct Request : DraftRequest {
  TokenIds prompt;  // target ids, at least one
  int32_t max_tokens = 256;
  LogitChanges changes;
  int32_t logprobs = -1;  // of emitted tokens, and of so many likeliest ones; -1: none
};

enum class ModelRole : int32_t { kIdle, kDrafter, kTarget };
struct Work {
  ModelRole model = ModelRole::kIdle;
  std::vector<Feed> feeds;
};

// Natural logarithms of the distribution that a token was drawn from: after changes, temperature
// and filters.
struct TokenLogprobs {
  double logprob = 0;
  std::vector<std::pair<int32_t, double>> top;  // the likeliest first, ties to the lowest id
};

struct Emitted {
  int32_t token;
  Origin origin;
  Bridge bridge;  // whose draft the round judged; kNone: it had none
};

struct Stats : DraftStats {
  int64_t target_calls = 0;
  int64_t drafted = 0;   // target tokens proposed
  int64_t accepted = 0;  // of them emitted
};

class Engine {
 public:
  // As Drafter's.
  Engine(std::shared_ptr<const Vocabulary> target, std::shared_ptr<const Vocabulary> drafter,
         EngineOptions options, std::shared_ptr<const VocabularyMap> map = nullptr,
         std::shared_ptr<const DraftTokenTrie> token_trie = nullptr);
  ~Engine();

  // The id and the one behind it are unique in the process: models key caches by them. Without a
  // seed the request draws one.
  int64_t add(Request request);  // throws Error(kValue) for an empty prompt and the like
  void cancel(int64_t id);
  void forget(int64_t id);       // drops a request and its tokens
  void check(int64_t id) const;  // throws what ended a request with kError; else does nothing
  void resume(int64_t id);       // a request that ended with kError goes on: with the caches it had
  bool any_error() const;        // whether a request has ended with kError

  // For all requests, or for these, each once; the others wait. The same again until feed() has
  // taken rows.
  Work next();
  Work next(const std::vector<int64_t>& ids);
  // After a call of a model failed half way: its caches may have been cut already. next() then
  // keeps only slots that such a cut leaves in place.
  void failed(const Work& work);
  // The rows that a request waits for are no good: feed() will pass it over, and next() asks again.
  void drop(Work& work, int64_t id);
  // Rows for all feeds of a next(), in order: [sum of rows, vocab]; those of requests that have
  // been cancelled or forgotten since are passed over. While a model runs, others of the engine's
  // requests may be served. The trees of all requests are judged
  // together, on the threads there are (threads.h). Throws Error(kValue) for another shape, and for
  // rows of the target that a request does not wait for any more.
  // A drafter's rows stay as they are until the request's next rows of the target, or for as long
  // as `owner` is held: nothing is copied, and they are read again when the trees are judged.
  // On a CUDA device rows stay where they are too: tokens, confidences and verdicts alone come to
  // the host, which waits once a call. What a device does not do it refuses by name.
  void feed(const Work& work, const RowsView& logits,
            const std::shared_ptr<const void>& owner = nullptr, const Device& device = {});

  const std::vector<Emitted>& emitted(int64_t id) const;         // grows; owned by the engine
  const std::vector<TokenLogprobs>& logprobs(int64_t id) const;  // [emitted], where asked for
  Finish finish(int64_t id) const;
  Stats stats(int64_t id) const;
  int64_t size() const { return static_cast<int64_t>(requests_.size()); }  // requests there are

 private:
  class RequestState;
  RequestState* find(int64_t id) const;  // null: forgotten
  RequestState& state(int64_t id) const;
  void take_draft(const Work& work, const RowsView& logits,
                  const std::shared_ptr<const void>& owner, const Device& device);
  void take_target(const Work& work, const RowsView& logits, RowBackend& backend);

  EngineOptions options_;
  Drafter drafter_;
  std::map<int64_t, std::unique_ptr<RequestState>> requests_;
};

}  // namespace anydraft
