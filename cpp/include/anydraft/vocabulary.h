// What the tokens of a vocabulary stand for, in bytes and roles; text to tokens and back; and how
// two vocabularies meet.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace anydraft {

using TokenIds = std::vector<int32_t>;

namespace detail {
struct OwnedTables;
struct Tables;
struct VocabularyData;
struct Mark;
}  // namespace detail

// Immutable; copies share their tables. Safe to use from many threads, if a caller's encoder is.
class Vocabulary {
 public:
  struct Table {
    std::vector<std::string> bytes;           // [size]; empty: special or hole
    std::map<std::string, int32_t> specials;  // by text
    std::map<std::string, TokenIds> roles;    // bos, eos, pad, unk, turn_start, turn_end
    TokenIds prefix;          // what the tokeniser puts before a text of its own (BOS)
    TokenIds byte_fallbacks;  // ids that stand for one byte beside an ordinary token (<0x41>)
  };
  // Valid UTF-8 -> ids whose bytes join to exactly that text; nothing added, nothing normalised.
  using Encoder = std::function<TokenIds(std::string_view)>;

  // A vocabulary whose texts a function of the caller's encodes.
  Vocabulary(const Table& table, Encoder encoder);
  // One that encodes natively.
  explicit Vocabulary(detail::OwnedTables tables);

  int32_t size() const { return size_; }
  bool is_special(int32_t id) const;
  // Empty for specials, holes and ids outside the table (padded logits).
  std::string_view token_bytes(int32_t id) const;
  std::string_view special_text(int32_t id) const;  // empty for all others
  const std::map<std::string, int32_t>& specials() const;
  const TokenIds& role(const std::string& name) const;  // empty where unknown
  const TokenIds& prefix() const;
  bool is_byte_fallback(int32_t id) const;

  // Whether this library encodes (else a function of the caller's does), and whether every byte
  // string can be spelled exactly. WordPiece, for one, cannot: it drops white space.
  bool native() const;
  bool exact() const;

  // Ids whose bytes join to exactly these bytes: no prefix space, nothing normalised, and the text
  // of a special is text. This is what bridges use. Valid runs of UTF-8 go to the encoder, others
  // become single-byte tokens. Throws Error(kVocabulary) for bytes that cannot be spelled.
  TokenIds encode(std::string_view bytes) const;
  std::string decode(const TokenIds& ids) const;  // bytes, specials left out

  // What the owner's library gives for valid UTF-8 (without specials added, as
  // `tokenizers`' encode(text, add_special_tokens=False)), and its text for ids, in valid UTF-8.
  // `specials`: the text of a special is the special. Throws Error(kUnsupportedTokenizer) where a
  // function of the caller's encodes, Error(kValue) for invalid UTF-8.
  TokenIds encode_as_owner(std::string_view text, bool specials = true) const;
  std::string decode_as_owner(const TokenIds& ids, bool skip_specials = false) const;

  bool operator==(const Vocabulary& other) const;  // byte for byte and role for role

  const detail::Tables& tables() const;

 private:
  friend class Retokenizer;
  // Appends to `ids`. `score`: Unigram's sum before the bytes. `mark`, if not null: how far the
  // ids are final.
  void encode_with_mark(std::string_view bytes, double score, TokenIds& ids,
                        detail::Mark* mark) const;

  std::shared_ptr<const detail::VocabularyData> data_;
  int32_t size_ = 0;
};

// Tokens of two vocabularies with the same bytes, or specials with the same text or role.
// Timor et al. 2025, token-level intersection.
struct VocabularyMap {
  VocabularyMap(const Vocabulary& draft, const Vocabulary& target);

  int64_t shared = 0;  // distinct byte strings of ordinary tokens on both sides
  TokenIds to_target;  // [draft size], -1: none
  TokenIds to_draft;   // [target size], -1: none; of several ids the ordinary, lowest one
  // Targets that several drafter ids stand for, with those ids: their mass is summed.
  std::vector<std::pair<int32_t, TokenIds>> merged;
};

// Length of the longest prefix that is not the beginning of an unfinished UTF-8 character.
size_t complete_utf8(std::string_view bytes);

}  // namespace anydraft
