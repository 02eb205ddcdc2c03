#include "session/proposal.h"

#include "session/auto_draft.h"
#include "session/lookup.h"
#include "session/sequence_draft.h"
#include "session/slrs_draft.h"
#include "session/string_draft.h"
#include "session/token_draft.h"

namespace anydraft {
namespace {

// Plain decoding: the root alone.
class NoDraft : public Drafting {
 public:
  void start(const TokenIds& committed, int64_t) override {
    proposal_.tree.tokens[0] = committed.back();
  }
};

}  // namespace

std::unique_ptr<Drafting> make_drafting(const Pair& pair, const Request& request, Stats& stats) {
  switch (pair.options.bridge) {
    case Bridge::kSame:
    case Bridge::kTli:
      return std::make_unique<TokenDraft>(pair, request, stats);
    case Bridge::kSlem:
      return std::make_unique<StringDraft>(pair, request, stats);
    case Bridge::kSlrs:
      if (pair.options.stop_rule.rows == 0) break;
      if (pair.options.stop_rule.general()) {
        return std::make_unique<SequenceDraft>(pair, request, stats);
      }
      return std::make_unique<SlrsDraft>(pair, request, stats);
    case Bridge::kAuto:
      return std::make_unique<AutoDraft>(pair, request, stats);
    case Bridge::kLookup:
      return std::make_unique<LookupDraft>(pair);
    case Bridge::kNone:
      break;
  }
  return std::make_unique<NoDraft>();
}

}  // namespace anydraft
