// Drafts for many requests, without I/O and without a target: for hosts that own the target.
//
//   Drafter drafter(target_vocabulary, drafter_vocabulary, options);
//   drafter.add(id, request);
//   drafter.propose(id, context, remaining);   // for every request of this round
//   for (auto feeds = drafter.next(); !feeds.empty(); feeds = drafter.next())
//     drafter.feed(feeds, run(feeds));         // rows of logits, in the order of the feeds
//   verify with drafter.draft(id);             // a tree and the distributions behind it
//
// The next propose() of a request finds out from its context which drafted tokens were kept.
// The engine (engine.h) is this drafter and a verification.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "anydraft/draft.h"
#include "anydraft/draft_row.h"
#include "anydraft/rows_view.h"
#include "anydraft/sampling.h"
#include "anydraft/verify.h"
#include "anydraft/vocabulary.h"

namespace anydraft {

class RandomSource;    // where random choices come from
class RowBackend;      // what is done to rows where they lie
class DraftTokenTrie;  // what each drafter token spells in the target's tokens

enum class Bridge : int32_t {
#define ANYDRAFT_BRIDGE(name, enumerator, ...) enumerator,
#include "anydraft/bridges.def"
#undef ANYDRAFT_BRIDGE
};

struct BridgeInfo {
  const char* name;
  bool model;    // the drafter is a model
  bool across;   // and has a vocabulary of its own
  bool certain;  // what is drafted is certain, not drawn
  const char* source;
};
const std::vector<BridgeInfo>& bridges();  // from bridges.def, the one list
const BridgeInfo& info_of(Bridge bridge);
Bridge bridge_by_name(const std::string& name);  // throws Error(kValue)

// What to run for one request: cut its cache to `keep` (and `keep_also`), then append `tokens`.
struct Feed {
  // Names the cache. The engine names the target's by the request's id and the drafter's by the
  // id + 1, so that one model may be both. A cache begins empty.
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

struct DrafterOptions {
  Bridge bridge = Bridge::kNone;
  int32_t draft_length = 4;  // depth of the draft (SLEM: drafter tokens)
  // A drafter call in target calls: the cost table of bridge kAuto and of automatic lengths.
  double draft_cost = 0.15;
  // Target calls on 0, 1, 2, ... rows, in those on one; empty: 0.05 more for each further row.
  std::vector<double> row_costs;
  // Each round's draft goes as far as the request's own past speaks for, up to draft_length: the
  // drafter's certainty of a row is held against what was kept at such a certainty.
  bool auto_length = false;
  TreeShape tree;      // no widths: a chain of draft_length; else its own depth counts
  StopRule stop_rule;  // kSlrs
  // How children are drawn; what a greedy drafter proposes is certain, whatever this says.
  ProposalKind scheme = ProposalKind::kIid;
  // The one that will judge the drafts; none: match for drafts that are certain, else traversal.
  std::optional<Verifier> verifier;
  // A chain is drafted no further once the drafter's own certainty of it (the product of its
  // largest probabilities at temperature 1) is below this; 0: always draft_length.
  double draft_confidence = 0;
  int64_t draft_context = 0;  // longest text in drafter tokens; 0: unlimited
  // Bridge kText: target ids that may follow the committed ones; none where nothing is expected.
  // Called once a round; what it throws, propose() throws.
  std::function<TokenIds(const TokenIds& committed)> expect;
  std::shared_ptr<RandomSource> random_source;  // null: uniforms by key

  void validate()
      const;  // throws Error(kValue): what the options promise must be possible together
};

struct DraftRequest {
  SamplingParams sampling;                       // the target's; its seed keys the uniforms
  std::optional<SamplingParams> draft_sampling;  // default: as sampling; greedy for SLEM
  TokenIds stop;                                 // target ids that end the text
  uint32_t random_stream = 0;                    // the request number in the keys
  // The text must not depend on what runs beside it. False: automatic lengths may go by it even
  // where drafts are drawn, and the text by them.
  bool seeded = true;

  bool stops(int32_t token) const {
    return std::find(stop.begin(), stop.end(), token) != stop.end();
  }
};

// A draft in target tokens: the tree, and the rows its tokens were drawn from, which become
// distributions by `sampling`. They lie where the model left them and are read through the pair's
// map; tree.rows index them.
struct Draft {
  DraftTree tree{{}};
  std::vector<std::unique_ptr<DraftRow>> rows;  // none: what is drafted is certain
  SamplingParams sampling;
  Bridge bridge = Bridge::kNone;        // that it came by
  std::deque<std::vector<float>> made;  // rows that are nowhere else
  const RowBackend* backend = nullptr;  // of the device that the rows lie on

  // Logits of a row over target ids, out [width]: for hosts whose verifiers take dense rows.
  void write_logits(int64_t row, int64_t width, float* out) const;
};

// What is known of a bridge that kAuto may take, and how often it did.
struct BridgeStats {
  Bridge bridge = Bridge::kNone;
  int64_t rounds = 0;
  double acceptance = 0;  // share of drafts whose first token would have been kept
  double worth = 0;       // tokens of a round per cost of it, in plain target calls
};

struct DraftStats {
  int64_t draft_calls = 0;
  std::vector<BridgeStats> bridges;  // kAuto
  // A general stop rule: distributions drawn from, and the sum over them of the mass that the rule
  // has stopped for sure; the rest stopped where the budget ended.
  int64_t distributions = 0;
  double stopped = 0;
};

struct Pair;        // the two vocabularies and what is made of them
class DraftSource;  // one request's drafts

class Drafter {
 public:
  // `drafter` may be null (lookup, same). Throws Error(kVocabulary) where TLI finds nothing shared,
  // or SLRS nothing that spells. `map` and `token_trie` save building them where the caller keeps
  // several drafters of one pair.
  Drafter(std::shared_ptr<const Vocabulary> target, std::shared_ptr<const Vocabulary> drafter,
          DrafterOptions options, std::shared_ptr<const VocabularyMap> map = nullptr,
          std::shared_ptr<const DraftTokenTrie> token_trie = nullptr);
  ~Drafter();

  // Throws Error(kValue) for parameters that cannot be, or an id that is there already.
  void add(int64_t id, DraftRequest request);
  void forget(int64_t id);
  bool has(int64_t id) const { return requests_.count(id) > 0; }
  int64_t size() const { return static_cast<int64_t>(requests_.size()); }  // requests there are

  // Begins a draft below `context` (target ids, not empty), at most `remaining` tokens deep. The
  // context may have grown or have been cut since the last time. Throws what an encoder throws;
  // propose() may be called again, until then the draft is empty. Automatic lengths count with
  // target calls that serve `together` requests, where the text cannot change by it or no seed
  // promises it.
  void propose(int64_t id, const TokenIds& context, int64_t remaining, int64_t together = 1);
  // What the drafter model is to run now, for all requests or for these; empty: their drafts are
  // done. Feed::request is the id. Changes nothing: the same again until feed() has taken rows.
  std::vector<Feed> next() const;
  std::vector<Feed> next(const std::vector<int64_t>& ids) const;
  // Rows for all of these feeds, in order: [sum of rows, vocab]; of requests that are forgotten
  // they are passed over. A request whose rows are bad, or are those of an earlier next(), says so
  // in error(), the others go on. Throws Error(kValue) for another shape.
  // The rows stay as they are until the request's next propose(), or for as long as `owner` is
  // held: they are read again when the draft is judged.
  // Throws Error(kValue) for what a device does not do, by name, and Error(kCudaUnavailable).
  void feed(const std::vector<Feed>& feeds, const RowsView& logits,
            const std::shared_ptr<const void>& owner = nullptr, const Device& device = {});
  // After a call of the model with these feeds failed half way: its caches may have been cut.
  void failed(const std::vector<Feed>& feeds);

  const Draft& draft(int64_t id) const;
  bool waits(int64_t id) const;                // for rows of the model
  std::exception_ptr error(int64_t id) const;  // of the request's last rows; null: none
  // Its error is forgotten: next() asks for the rows again, but after an encoder's error, where the
  // draft has ended.
  void retry(int64_t id);
  const DraftStats& stats(int64_t id) const;
  const Pair& pair() const { return *pair_; }
  // What reads rows there; as feed() throws.
  RowBackend& rows_on(const Device& device);

  // Which nodes of the draft were kept; `context` has one token more. Not needed before propose(),
  // but bridge kAuto learns from the target's rows of the draft.
  void settle(int64_t id, const TokenIds& context, const std::vector<int32_t>& path,
              const RowsView* target = nullptr);

 private:
  struct State;
  State* find(int64_t id) const;  // null: forgotten
  State& state(int64_t id) const;
  State* taker(const Feed& feed) const;
  std::unique_ptr<Pair> pair_;
  std::unique_ptr<RowBackend> cpu_, cuda_;  // the latter once rows lie there
  std::map<int64_t, std::unique_ptr<State>> requests_;
};

}  // namespace anydraft
