#include "vocab/added.h"

#include "anydraft/error.h"
#include "vocab/build_parts.h"
#include "vocab/models.h"
#include "vocab/normalize.h"
#include "vocab/unicode.h"

namespace anydraft::detail {
namespace {

bool is_word(const char* at) { return (unicode().property[decode(at)] & kWord) != 0; }
bool is_space(const char* at, bool signs) {
  return !(signs && *at == ' ') && (category_bit(decode(at)) & kSpaces) != 0;
}

// A first byte with which no entry begins ends most searches.
bool begins(const Trie& trie, uint8_t byte) {
  const uint32_t node = trie.firsts[0] + byte;
  return trie.firsts[node] != trie.firsts[node + 1] || trie.values[node] != kNoId;
}

struct Found {
  uint32_t index = kNoId;
  const char* end = nullptr;
};

Found longest(const Trie& trie, const char* at, const char* end) {
  Found found;
  uint32_t node = 0;
  while (at != end && (node = child(trie, node, static_cast<uint8_t>(*at++))) != kNoId) {
    if (trie.values[node] != kNoId) found = {trie.values[node], at};
  }
  return found;
}

}  // namespace

bool AddedMatcher::taken(const AddedToken& token, AddedMatch& match) const {
  if ((token.flags & kAddedSpecial) && !rules_.specials) return false;
  if (rules_.exact) return (token.flags & (kAddedInexact | kAddedSingleWord)) == 0;
  if (token.flags & kAddedSingleWord) {
    if (match.begin != begin_ && is_word(previous_character(match.begin))) return false;
    if (match.end != end_ && is_word(match.end)) return false;
  }
  if (token.flags & kAddedLeftStrip) {
    const char* stop = free_ != nullptr ? free_ : begin_;
    while (match.begin > stop && is_space(previous_character(match.begin), rules_.signs)) {
      match.begin = previous_character(match.begin);
    }
  }
  if (token.flags & kAddedRightStrip) {
    while (match.end != end_ && is_space(match.end, rules_.signs))
      match.end = next_character(match.end);
  }
  return true;
}

AddedMatch AddedMatcher::next() {
  if (trie_.labels.empty()) return {};
  const auto inside_character = [this](const char* at) {  // where only a forged table's tokens end
    return at != end_ && (static_cast<uint8_t>(*at) & 0xC0) == 0x80;
  };
  while (at_ != end_) {
    if (!begins(trie_, static_cast<uint8_t>(*at_)) || inside_character(at_)) {
      ++at_;
      continue;
    }
    const Found found = longest(trie_, at_, end_);
    if (found.index == kNoId || inside_character(found.end)) {
      ++at_;
      continue;
    }
    AddedMatch match{&t_.added[found.index], at_, found.end};
    at_ = found.end;
    if (!taken(*match.token, match)) continue;
    // White space that a match to the left has stripped is not text any more.
    if (free_ != nullptr && match.end <= free_) continue;
    if (free_ != nullptr && match.begin < free_) match.begin = free_;
    free_ = match.end;
    return match;
  }
  return {};
}

const char* open_match(const Trie& trie, std::string_view text) {
  const char* end = text.data() + text.size();
  if (trie.labels.empty()) return end;
  for (const char* at = text.data(); at != end; ++at) {
    if (!begins(trie, static_cast<uint8_t>(*at))) continue;
    uint32_t node = 0;
    const char* here = at;
    while (here != end && node != kNoId) node = child(trie, node, static_cast<uint8_t>(*here++));
    if (node != kNoId && trie.firsts[node] != trie.firsts[node + 1]) return at;
  }
  return end;
}

// How a token stands in the text that it is looked for in. SentencePiece's normaliser leaves its
// symbols as they are.
static std::string form_of(const Tables& t, const Description& d, const AddedDescription& token) {
  if (!(token.flags & kAddedNormalized)) return token.text;
  if (d.config.owner == Owner::kSentencePiece) return d.table.bytes[token.id];
  std::string to, other;
  return std::string(normalize(t, token.text, to, other));
}

void build_added(TableBuilder& builder, const Description& d) {
  std::vector<AddedToken> added;
  std::map<std::string, uint32_t> plain, normalized;
  for (const AddedDescription& token : d.added) {
    if (token.text.empty()) continue;
    uint32_t flags = token.flags;
    if (token.id >= d.table.bytes.size()) {
      throw Error(ErrorKind::kVocabulary, "[Vocabulary] expected the id of the added token " +
                                              token.text + " in range, got " +
                                              std::to_string(token.id));
    }
    const std::string form = form_of(builder.tables, d, token);
    const bool special = flags & kAddedSpecial;
    if (form != token.text || (!special && d.table.bytes[token.id] != token.text)) {
      flags |= kAddedInexact;
    }
    auto& entries = flags & kAddedNormalized ? normalized : plain;
    entries[form] = static_cast<uint32_t>(added.size());
    const auto [at, size] = builder.text(token.text);
    added.push_back({token.id, flags, at, size});
  }
  builder.keep(builder.tables.added, std::move(added));
  if (!plain.empty()) builder.keep(builder.tables.added_trie, plain);
  if (!normalized.empty()) builder.keep(builder.tables.added_normalized_trie, normalized);
}

}  // namespace anydraft::detail
