// What the tokens of a vocabulary stand for, in bytes and roles, and how two vocabularies meet.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace anydraft {

using TokenIds = std::vector<int32_t>;

// Immutable after construction; safe to share between threads if its encoder is.
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

  Vocabulary(Table table, Encoder encoder);

  int32_t size() const { return static_cast<int32_t>(table_.bytes.size()); }
  bool is_special(int32_t id) const { return id >= 0 && id < size() && !names_[id].empty(); }
  // Empty for specials, holes and ids outside the table (padded logits).
  const std::string& token_bytes(int32_t id) const;
  const std::string& special_text(int32_t id) const { return names_[id]; }
  const std::map<std::string, int32_t>& specials() const { return table_.specials; }
  const TokenIds& role(const std::string& name) const;  // empty where unknown
  const TokenIds& prefix() const { return table_.prefix; }
  bool is_byte_fallback(int32_t id) const { return fallback_[id]; }

  // Any bytes: valid runs go to the encoder, others become single-byte tokens. Throws
  // Error(kVocabulary) for a stray byte that has no token.
  TokenIds encode(std::string_view bytes) const;
  std::string decode(const TokenIds& ids) const;  // specials left out

  bool operator==(const Vocabulary& other) const;  // byte for byte and role for role

 private:
  Table table_;
  Encoder encoder_;
  std::vector<std::string> names_;  // [size] text of a special, else empty
  std::vector<bool> fallback_;
  int32_t byte_token_[256];  // -1: none
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
