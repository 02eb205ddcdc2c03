// Prompt lookup: drafts without a model. Saxena 2023, "Prompt lookup decoding".
#pragma once

#include "session/proposal.h"

namespace anydraft {

class LookupDraft : public Drafting {
 public:
  explicit LookupDraft(const Pair& pair) : pair_(pair) {}
  void start(const TokenIds& committed, int64_t remaining) override;

 private:
  const Pair& pair_;
};

namespace detail {
// At most `length` tokens: what followed the place whose preceding tokens agree longest with the
// end of the text (2 to 16 tokens; the latest of several such places).
TokenIds look_up(const TokenIds& text, size_t length);
}  // namespace detail

}  // namespace anydraft
