// The drafter's view of the committed text, in its own tokens.
#pragma once

#include <bitset>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "anydraft/retokenizer.h"
#include "anydraft/vocabulary.h"

namespace anydraft::detail {

// The tokens are those that encoding the whole text gives, but for tokens the drafter drew: these
// stay (and with them its cache) as long as they spell the text and end where one of the text's own
// tokens ends. Specials go over by text or role; one without a counterpart is retokenised as the
// text it shows. Bytes for which a byte-level drafter has no token are left out: a drafter may be
// told anything, and a draft from a gap is better than none.
class DraftContext {
 public:
  // Keeps references: the vocabularies and the map must outlive it.
  DraftContext(const Vocabulary& target, const Vocabulary& drafter, const VocabularyMap& map);

  // Brings ids() in line with the committed target tokens (which only ever grow). Throws what the
  // drafter's encoder throws; the context is then as before and may be synced again.
  void sync(const TokenIds& committed);

  // A token the drafter drew; not part of the committed text until a sync says so.
  void append(int32_t draft_id);

  const TokenIds& ids() const { return ids_; }
  // Leading ids that no sync has changed since the last call of mark_fed: still in the cache.
  size_t fed() const { return fed_; }
  void mark_fed() { fed_ = ids_.size(); }

 private:
  // The text as symbols: a byte, or 256 + the id of one of the drafter's specials.
  using Symbols = std::vector<int32_t>;
  void add_text(Symbols& to, std::string_view bytes) const;
  void add_symbols(Symbols& to, int32_t draft_id) const;
  void add_target_symbols(Symbols& to, int32_t token) const;
  void feed(size_t begin);
  std::pair<size_t, size_t> keep();
  size_t agreeing() const;

  const Vocabulary& target_;
  const Vocabulary& drafter_;
  const VocabularyMap& map_;
  std::bitset<256> unspoken_;   // bytes that the drafter has no way to say
  Symbols text_;                // of the committed tokens seen so far, as far as it can be said
  size_t seen_ = 0;             // committed tokens in text_
  Retokenizer tokens_;          // of text_, or nothing after a failure: told_
  size_t told_ = 0;             // leading symbols of text_ that tokens_ was fed
  TokenIds ids_;                // drafter's prefix, then tokens
  Symbols spoken_;              // symbols of ids_
  std::vector<size_t> ends_;    // [ids] end of each id in spoken_
  std::vector<uint8_t> drawn_;  // [ids] 1: the drafter drew it
  size_t said_ = 0;             // leading symbols in which text_ and spoken_ agree for sure
  size_t fed_ = 0;
  // Leading ids that stay for good, and as many of the text's own tokens as end there.
  size_t settled_ids_, settled_own_ = 0;
};

}  // namespace anydraft::detail
