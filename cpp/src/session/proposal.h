// How a request's drafts come about: one class a kind of drafting.
#pragma once

#include <memory>
#include <vector>

#include "anydraft/session.h"
#include "bridge/slrs.h"
#include "session/random_source.h"

namespace anydraft {

struct Pair {
  std::shared_ptr<const Vocabulary> target, drafter;
  std::shared_ptr<const VocabularyMap> map;          // bridges across vocabularies
  std::shared_ptr<const DraftTokenTrie> token_trie;  // SLRS
  SessionOptions options;

  RandomSource& choose() const { return *options.random_source; }

  bool across() const {
    const Bridge bridge = options.bridge;
    return bridge == Bridge::kTli || bridge == Bridge::kSlem || bridge == Bridge::kSlrs ||
           bridge == Bridge::kAuto;
  }
  bool has_model() const { return across() || options.bridge == Bridge::kSame; }
};

// A draft in target tokens; tree.rows index `distributions`, logits over `width` target ids that
// become distributions by `sampling`.
struct Proposal {
  DraftTree tree{{}};
  std::vector<float> distributions;
  int64_t width = 0;
  SamplingParams sampling;
};

class Drafting {
 public:
  virtual ~Drafting() = default;

  // Begins a round below the committed text, at most `remaining` tokens deep; nothing of a round
  // before remains. May throw what an encoder throws, and be called again.
  virtual void start(const TokenIds& committed, int64_t remaining) = 0;
  virtual bool wants_model() const { return false; }
  virtual Feed feed() const { return {}; }
  // The rows of the last feed(), from `first` on. Where it throws nothing has changed.
  virtual void take(const RowsView&, int64_t) {}
  // The target's rows of the proposal, from `first` on; `committed` has grown by the accepted nodes
  // `path` and one token more, or less where it came to an end.
  virtual void learn(const RowsView&, int64_t, const TokenIds&, const std::vector<int32_t>&) {}
  // Likewise, where the text goes on.
  virtual void settle(const TokenIds&, const std::vector<int32_t>&) {}
  virtual void failed() {}  // a feed may have been carried out in part

  virtual const Proposal& proposal() const { return proposal_; }
  virtual void set_target_width(int64_t width) { target_width_ = width; }

 protected:
  Proposal proposal_;
  int64_t target_width_ = 0;  // columns of the target's logits; 0: not known yet
};

// For a bridge; the references must outlive it.
std::unique_ptr<Drafting> make_drafting(const Pair& pair, const Request& request, Stats& stats);

// The shape a round may have: no deeper than `remaining`.
TreeShape shape_for(const SessionOptions& options, int64_t remaining);

}  // namespace anydraft
