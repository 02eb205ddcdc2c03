#include <algorithm>
#include <cstring>
#include <functional>

#include "vocab/double_array.h"
#include "vocab/hash.h"
#include "vocab/joins.h"
#include "vocab/models.h"
#include "vocab/unicode.h"

namespace anydraft::detail {
namespace {

// Up to here the next merge is found by looking at all pairs; longer pieces keep a heap.
constexpr size_t kShort = 48;

// Symbols of a short piece, side by side.
struct ShortWord {
  uint32_t ids[kShort];
  uint32_t ranks[kShort];  // of the pair with the next; of the last: kNoRank
  size_t size = 0;
};

void merge_short(const Tables& t, ShortWord& word) {
  const uint32_t ties = t.config[0].tie_bits;
  while (word.size > 1) {
    uint32_t best = kNoRank >> ties;
    for (size_t i = 0; i + 1 < word.size; ++i) best = std::min(best, word.ranks[i] >> ties);
    if (best == kNoRank >> ties) return;
    size_t at = 0;
    while (word.ranks[at] >> ties != best) ++at;
    word.ids[at] = t.merged[word.ranks[at]];
    --word.size;
    for (size_t i = at + 1; i < word.size; ++i) {
      word.ids[i] = word.ids[i + 1];
      word.ranks[i] = word.ranks[i + 1];
    }
    word.ranks[at] = at + 1 < word.size ? find_pair(t, word.ids[at], word.ids[at + 1]) : kNoRank;
    if (at > 0) word.ranks[at - 1] = find_pair(t, word.ids[at - 1], word.ids[at]);
  }
}

// The leftmost pair of the lowest rank first; entries of the heap are rank << 32 | position (ranks
// that tie being the same), and stale where the symbol there has another rank by now.
void merge_long(const Tables& t, Scratch& scratch) {
  const uint32_t ties = t.config[0].tie_bits;
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  const auto later = std::greater<uint64_t>();
  const auto set_rank = [&](int32_t at) {
    Scratch::Symbol& s = symbols[at];
    s.rank = s.next < 0 ? kNoRank : find_pair(t, s.id, symbols[s.next].id);
    if (s.rank == kNoRank) return;
    heap.push_back(static_cast<uint64_t>(s.rank >> ties) << 32 | static_cast<uint32_t>(at));
    std::push_heap(heap.begin(), heap.end(), later);
  };
  heap.clear();
  const int32_t size = static_cast<int32_t>(symbols.size());
  for (int32_t i = 0; i < size; ++i) symbols[i].previous = i - 1, symbols[i].next = i + 1;
  symbols.back().next = -1;
  for (int32_t i = 0; i < size; ++i) set_rank(i);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const int32_t at = static_cast<int32_t>(heap.back() & 0xFFFFFFFF);
    const uint32_t rank = static_cast<uint32_t>(heap.back() >> 32);
    heap.pop_back();
    Scratch::Symbol& s = symbols[at];
    if (s.rank == kNoRank || s.rank >> ties != rank) continue;
    Scratch::Symbol& gone = symbols[s.next];
    s.id = t.merged[s.rank];
    s.next = gone.next;
    gone.rank = kNoRank;
    if (s.next >= 0) symbols[s.next].previous = at;
    set_rank(at);
    if (s.previous >= 0) set_rank(s.previous);
  }
}

// Whether byte tokens stand for this character, which has no token.
bool spelled_in_bytes(const Tables& t, std::string_view character) {
  return t.config[0].byte_fallback && std::all_of(character.begin(), character.end(), [&](char c) {
           return t.byte_ids[static_cast<uint8_t>(c)] != kNoId;
         });
}

// What `words` has for a text, which may have a mark before and behind it; kNoId: nothing.
uint32_t affixed_word(const Tables& t, std::string_view text, bool continues, bool ends) {
  uint64_t unit = t.words[0];
  const auto descend = [&](char c) {
    unit = child_of(t.words.data, unit, static_cast<uint8_t>(c));
    return unit != 0;
  };
  if (continues && !descend(kContinuesMark)) return kNoId;
  for (char c : text) {
    if (!descend(c)) return kNoId;
  }
  if (ends && !descend(kEndMark)) return kNoId;
  return word_of(unit) != 0 ? word_of(unit) - 1 : kNoId;
}

// Ids of a word's characters, or bytes, each with the marks of its place.
void affixed_ids(const Tables& t, std::string_view piece, std::vector<Scratch::Symbol>& to) {
  const EncoderConfig& config = t.config[0];
  const char *begin = piece.data(), *end = begin + piece.size();
  bool unknown = false;
  for (const char* at = begin; at != end;) {
    const char* next = config.byte_level ? at + 1 : next_character(at);
    const std::string_view character(at, next - at);
    const uint32_t id =
        affixed_word(t, character, at != begin && (config.affixes & kAffixContinues),
                     next == end && (config.affixes & kAffixEnd));
    const bool was_unknown = unknown;
    unknown = false;
    if (id != kNoId) {
      to.push_back({id, 0, 0, 0});
    } else if (spelled_in_bytes(t, character)) {
      for (char c : character) to.push_back({t.byte_ids[static_cast<uint8_t>(c)], 0, 0, 0});
    } else if (config.unk_id != kNoId) {
      unknown = true;
      if (!(was_unknown && config.fuse_unk)) to.push_back({config.unk_id, 0, 0, 0});
    }
    at = next;
  }
}

// Ids of a piece's characters; those that the vocabulary lacks are spelled in bytes, or unknown.
void character_ids(const Tables& t, std::string_view piece, std::vector<Scratch::Symbol>& to) {
  const EncoderConfig& config = t.config[0];
  const char* end = piece.data() + piece.size();
  bool unknown = false;
  for (const char* at = piece.data(); at != end;) {
    const char* next = next_character(at);
    const uint32_t id = find_piece(t, at, next - at);
    const bool was_unknown = unknown;
    unknown = false;
    if (id != kNoId) {
      to.push_back({id, 0, 0, 0});
    } else if (spelled_in_bytes(t, {at, static_cast<size_t>(next - at)})) {
      for (; at != next; ++at) to.push_back({t.byte_ids[static_cast<uint8_t>(*at)], 0, 0, 0});
    } else if (config.unk_id != kNoId) {
      unknown = true;
      if (!(was_unknown && config.fuse_unk)) to.push_back({config.unk_id, 0, 0, 0});
    }
    at = next;
  }
}

void merge_symbols(const Tables& t, Scratch& scratch, TokenIds& ids) {
  const auto& symbols = scratch.symbols;
  if (symbols.empty()) return;
  if (symbols.size() > kShort) {
    merge_long(t, scratch);
    for (int32_t at = 0; at >= 0; at = symbols[at].next) ids.push_back(symbols[at].id);
    return;
  }
  ShortWord word;
  word.size = symbols.size();
  for (size_t i = 0; i < word.size; ++i) word.ids[i] = symbols[i].id;
  for (size_t i = 0; i + 1 < word.size; ++i) {
    word.ranks[i] = find_pair(t, word.ids[i], word.ids[i + 1]);
  }
  word.ranks[word.size - 1] = kNoRank;
  merge_short(t, word);
  ids.insert(ids.end(), word.ids, word.ids + word.size);
}

void merge_bytes(const Tables& t, std::string_view piece, Scratch& scratch, TokenIds& ids) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(piece[i]); };
  if (piece.size() > kShort) {
    scratch.symbols.clear();
    for (size_t i = 0; i < piece.size(); ++i) {
      if (t.byte_ids[byte(i)] != kNoId) scratch.symbols.push_back({t.byte_ids[byte(i)], 0, 0, 0});
    }
    return merge_symbols(t, scratch, ids);
  }
  ShortWord word;
  for (size_t i = 0; i < piece.size(); ++i) {
    const uint32_t id = t.byte_ids[byte(i)];
    if (id == kNoId) {  // the owner drops what it has no token for; then neighbours are not bytes
      scratch.symbols.clear();
      for (char c : piece) {
        const uint32_t known = t.byte_ids[static_cast<uint8_t>(c)];
        if (known != kNoId) scratch.symbols.push_back({known, 0, 0, 0});
      }
      return merge_symbols(t, scratch, ids);
    }
    word.ids[i] = id;
    word.ranks[i] = i + 1 < piece.size() ? t.byte_pairs[byte(i) << 8 | byte(i + 1)] : kNoRank;
  }
  word.size = piece.size();
  merge_short(t, word);
  ids.insert(ids.end(), word.ids, word.ids + word.size);
}

// A piece that is a token; kNoId where it must be merged.
uint32_t whole(const Tables& t, std::string_view piece) {
  const uint32_t affixes = t.config[0].affixes;
  const uint32_t id = affixes == 0 ? find_piece(t, piece.data(), piece.size())
                                   : affixed_word(t, piece, false, (affixes & kAffixEnd) != 0);
  return id != kNoId && (t.flags[id] & kWhole) ? id : kNoId;
}

}  // namespace

void merge_bpe(const Tables& t, std::string_view piece, Scratch& scratch, TokenIds& ids) {
  const EncoderConfig& config = t.config[0];
  if (config.byte_level && config.affixes == 0) return merge_bytes(t, piece, scratch, ids);
  scratch.symbols.clear();
  if (config.affixes != 0) {
    affixed_ids(t, piece, scratch.symbols);
  } else {
    character_ids(t, piece, scratch.symbols);
  }
  merge_symbols(t, scratch, ids);
}

void encode_bpe(const Tables& t, std::string_view piece, Scratch& scratch, TokenIds& ids,
                Mark* mark) {
  const auto encode = [&](const char* begin, const char* end) {
    const std::string_view part(begin, end - begin);
    const uint32_t id = whole(t, part);
    if (id != kNoId) {
      ids.push_back(static_cast<int32_t>(id));
    } else {
      merge_bpe(t, part, scratch, ids);
    }
  };
  const char *begin = piece.data(), *end = begin + piece.size();
  if (t.joins.empty()) return encode(begin, end);
  const char* at = begin;
  uint32_t last = decode(at);
  while (at != end) {
    const char* here = at;
    const uint32_t point = decode(at);
    if (!joins(t, last, point)) {
      encode(begin, here);
      begin = here;
      if (mark != nullptr) mark->reach(here, ids.size(), 0);
    }
    last = point;
  }
  encode(begin, end);
}

}  // namespace anydraft::detail
