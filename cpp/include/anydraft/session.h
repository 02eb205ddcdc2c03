// The decode loop without I/O: it says what to feed to which model and takes logits back.
//
//   session.add(request);
//   for (Work work = session.next(); work.model != Model::kIdle; work = session.next())
//     session.feed(run(work));          // rows of logits, in the order of the feeds
//
// next() may be called again until feed() has taken its rows. Where feed() throws, nothing that was
// emitted is lost and next() says how to go on, so a failed model call can be repeated.
//
// The requests of a session share its calls, not their errors: one with a bad row, or one at whose
// text an encoder of the caller's throws, ends with Finish::kError and the others go on. check()
// throws what went wrong (the message counts rows in the order of the feeds); resume() goes on from
// what was emitted, as if nothing had been.
//
// A session is for one thread at a time; sessions of several threads may share vocabularies.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "anydraft/draft.h"
#include "anydraft/rows_view.h"
#include "anydraft/sampling.h"
#include "anydraft/verify.h"
#include "anydraft/vocabulary.h"

namespace anydraft {

class RandomSource;    // where random choices come from
class DraftTokenTrie;  // what each drafter token spells in the target's tokens

enum class Bridge : int32_t {
  kNone,    // no drafter: plain decoding
  kSame,    // the drafter speaks the target's ids
  kTli,     // token-level intersection
  kSlem,    // string-level exact match
  kSlrs,    // string-level rejection sampling, by SessionOptions::stop_rule
  kAuto,    // across vocabularies: whichever of these three the request's past speaks for
  kLookup,  // no drafter: what followed the last tokens earlier in the text
};

enum class Origin : int32_t { kAccepted, kRecovered, kBonus };
enum class Finish : int32_t { kNot, kStop, kLength, kContext, kCancelled, kError };

struct SessionOptions {
  Bridge bridge = Bridge::kNone;
  int32_t draft_length = 4;  // depth of the draft (SLEM: drafter tokens)
  // Each round's draft is as long as the request's own past speaks for, up to draft_length.
  bool auto_length = false;
  // The fixed cost table, for bridge kAuto and auto_length: a drafter call, in target calls.
  double draft_cost = 0.15;
  TreeShape tree;      // no widths: a chain of draft_length; else its own depth counts
  StopRule stop_rule;  // kSlrs
  ProposalKind scheme =
      ProposalKind::kIid;  // of the drafter's draws; a greedy drafter's are always certain
  // None: match for drafts that are certain, else traversal.
  std::optional<Verifier> verifier;
  // A chain is drafted no further once the drafter's own certainty of it (the product of its
  // largest probabilities at temperature 1) is below this; 0: always draft_length.
  double draft_confidence = 0;
  int64_t target_context = 0, draft_context = 0;  // longest text in tokens; 0: unlimited
  std::shared_ptr<RandomSource> random_source;    // null: uniforms
};

struct Request {
  TokenIds prompt;  // target ids, at least one
  SamplingParams sampling;
  std::optional<SamplingParams> draft_sampling;  // default: as sampling; greedy for SLEM
  int32_t max_new_tokens = 256;
  TokenIds stop;               // ids that end the request; they are emitted
  uint32_t random_stream = 0;  // the request number in the keys of its uniforms

  bool stops(int32_t token) const {
    return std::find(stop.begin(), stop.end(), token) != stop.end();
  }
};

// What to run for one request: cut its cache to `keep` (and `keep_also`), then append `tokens`.
struct Feed {
  // Names the cache: the request's id, for the drafter the id + 1, so that one model may be both. A
  // cache begins empty, and is no longer asked for once finish(id) is not kNot.
  int64_t request = 0;
  TokenIds tokens;
  std::vector<int32_t> positions;  // [tokens] in the text: siblings of a tree share theirs
  // [tokens] index in this feed of the token each one follows and attends to, with all that one
  // attends to; -1: the last slot kept.
  std::vector<int32_t> parents;
  int64_t keep = 0;                // leading cache slots to retain
  std::vector<int32_t> keep_also;  // slots behind them to retain, ascending: they move up
  int64_t rows = 0;                // logits are wanted for this many last tokens
};

enum class Model : int32_t { kIdle, kDrafter, kTarget };
struct Work {
  Model model = Model::kIdle;
  std::vector<Feed> feeds;
};

struct Emitted {
  int32_t token;
  Origin origin;
};

// What is known of a bridge that kAuto may take, and how often it did.
struct BridgeStats {
  Bridge bridge = Bridge::kNone;
  int64_t rounds = 0;
  double acceptance = 0;  // as often would its drafts' first token have been kept
  double worth = 0;       // tokens of a round per cost of it, in plain target calls
};

struct Stats {
  int64_t target_calls = 0;
  int64_t draft_calls = 0;
  int64_t drafted = 0;               // target tokens proposed
  int64_t accepted = 0;              // of them emitted
  std::vector<BridgeStats> bridges;  // kAuto
  // A general stop rule: distributions drawn from, and the sum over them of the mass that the rule
  // has stopped for sure; the rest stopped where the budget ended.
  int64_t distributions = 0;
  double stopped = 0;
};

class Session {
 public:
  // `drafter` may be null (plain decoding, lookup, same). Throws Error(kVocabulary) where TLI finds
  // nothing shared, or SLRS nothing that spells. `map` and `token_trie` save building them where
  // the caller keeps sessions of one pair.
  Session(std::shared_ptr<const Vocabulary> target, std::shared_ptr<const Vocabulary> drafter,
          SessionOptions options, std::shared_ptr<const VocabularyMap> map = nullptr,
          std::shared_ptr<const DraftTokenTrie> token_trie = nullptr);
  ~Session();

  // The id and the one behind it are unique in the process: models key caches by them. Without a
  // seed the request draws one.
  int64_t add(Request request);  // throws Error(kValue) for an empty prompt and the like
  void cancel(int64_t id);
  void forget(int64_t id);       // drops a request and its tokens
  void check(int64_t id) const;  // throws what ended a request with kError; else does nothing
  void resume(int64_t id);       // a request that ended with kError goes on: with the caches it had

  Work next();
  // After a call of a model failed half way: its caches may have been cut already. next() then
  // keeps only slots that such a cut leaves in place.
  void failed();
  // Rows for all feeds of the last next(), in order: [sum of rows, vocab]; those of requests that
  // have been cancelled or forgotten since are passed over. Throws Error(kValue) for another shape.
  void feed(const RowsView& logits);

  const std::vector<Emitted>& emitted(int64_t id) const;  // grows; owned by the session
  Finish finish(int64_t id) const;
  Stats stats(int64_t id) const;

 private:
  struct Job;
  struct Shared;
  Job& job(int64_t id) const;
  void take(const RowsView& logits);
  void take(Job& job, const RowsView& logits, int64_t first);
  std::unique_ptr<Shared> shared_;
  std::map<int64_t, std::unique_ptr<Job>> jobs_;
  Work pending_;  // what the last next() asked for
};

}  // namespace anydraft
