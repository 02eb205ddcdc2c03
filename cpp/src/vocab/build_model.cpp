#include <algorithm>
#include <limits>
#include <string>

#include "anydraft/error.h"
#include "vocab/build_parts.h"
#include "vocab/double_array.h"
#include "vocab/hash.h"
#include "vocab/joins.h"
#include "vocab/models.h"
#include "vocab/unicode.h"
#include "vocab/utf8.h"

namespace anydraft::detail {
namespace {

[[noreturn]] void contradicts(const std::string& what) {
  throw Error(ErrorKind::kVocabulary, "[Vocabulary] expected " + what);
}

std::string_view bytes_of(const Tables& t, uint32_t id) {
  return {t.bytes.data + t.offsets[id], t.offsets[id + 1] - t.offsets[id]};
}

// A power of two with at least 40 % of the slots free.
size_t slots_for(size_t count) {
  size_t slots = 16;
  while (slots * 3 < count * 5) slots *= 2;
  return slots;
}

void build_pieces(TableBuilder& builder, const Description& d) {
  Tables& t = builder.tables;
  const size_t size = d.table.bytes.size();
  std::vector<PieceSlot> slots(
      slots_for(std::count(d.in_model.begin(), d.in_model.end(), uint8_t{1})));
  for (uint32_t id = 0; id < size; ++id) {
    const std::string_view bytes = bytes_of(t, id);
    if (!d.in_model[id] || bytes.empty()) continue;
    const uint64_t key = piece_key(bytes.data(), bytes.size());
    size_t at = piece_slot(key, bytes.size(), slots.size());
    const auto same = [&](const PieceSlot& slot) {
      return slot.key == key && slot.length == bytes.size() && bytes_of(t, slot.id) == bytes;
    };
    while (slots[at].id != kNoId && !same(slots[at])) at = (at + 1) & (slots.size() - 1);
    if (slots[at].id == kNoId) slots[at] = {key, id, static_cast<uint32_t>(bytes.size())};
  }
  builder.keep(t.pieces, std::move(slots));
}

// Ids of single bytes: among the pieces where the model sees bytes, else the fallbacks.
void build_bytes(TableBuilder& builder, const Description& d, const EncoderConfig& config) {
  Tables& t = builder.tables;
  std::vector<uint32_t> ids(256, kNoId);
  if (config.byte_level) {
    for (int byte = 0; byte < 256; ++byte) {
      const char one = static_cast<char>(byte);
      ids[byte] = find_piece(t, &one, 1);
    }
  } else {
    for (int32_t id : d.table.byte_fallbacks) {
      const std::string& bytes = d.table.bytes[id];
      if (bytes.size() == 1) ids[static_cast<uint8_t>(bytes[0])] = static_cast<uint32_t>(id);
    }
    // Files leave out the byte whose character is an ordinary token (Gemma's tab).
    for (uint32_t id = 0; config.byte_fallback && id < d.in_model.size(); ++id) {
      const std::string& bytes = d.table.bytes[id];
      if (!d.in_model[id] || bytes.size() != 1) continue;
      uint32_t& slot = ids[static_cast<uint8_t>(bytes[0])];
      if (slot == kNoId) slot = id;
    }
  }
  builder.keep(t.byte_ids, std::move(ids));
}

struct Merge {
  uint32_t left, right, rank;
};

// All ways to put a token together from two others: the owner merges whatever yields the token of
// the lowest rank.
std::vector<Merge> merges_by_rank(const Tables& t, const Description& d, const EncoderConfig& c,
                                  std::vector<uint32_t>& merged) {
  std::vector<Merge> merges;
  for (uint32_t id = 0; id < d.ranks.size(); ++id) {
    const uint32_t rank = d.ranks[id];
    if (rank == kNoId) continue;
    if (rank >= 1u << kRankBits) contradicts("ranks below 2^24, got more");
    if (rank >= merged.size()) merged.resize(rank + 1, kNoId);
    if (merged[rank] != kNoId) {
      throw Error(ErrorKind::kUnsupportedTokenizer,
                  "[Vocabulary] expected a supported model, got one where tokens " +
                      std::to_string(merged[rank]) + " and " + std::to_string(id) +
                      " have the same rank");
    }
    merged[rank] = id;
    const std::string_view bytes = bytes_of(t, id);
    for (size_t cut = 1; cut < bytes.size(); ++cut) {
      if (!c.byte_level && (static_cast<uint8_t>(bytes[cut]) & 0xC0) == 0x80) continue;
      const uint32_t left = find_piece(t, bytes.data(), cut);
      const uint32_t right = find_piece(t, bytes.data() + cut, bytes.size() - cut);
      if (left != kNoId && right != kNoId) merges.push_back({left, right, rank});
    }
  }
  return merges;
}

std::vector<Merge> merges_by_order(const Description& d, std::vector<uint32_t>& merged) {
  std::vector<Merge> merges;
  for (const auto& [left, right, id] : d.merges) {
    if (std::max({left, right, id}) >= d.table.bytes.size()) {
      contradicts("merges of tokens, got an id outside the vocabulary");
    }
    merges.push_back({left, right, static_cast<uint32_t>(merged.size())});
    merged.push_back(id);
  }
  return merges;
}

void build_merges(TableBuilder& builder, const Description& d, const EncoderConfig& config) {
  Tables& t = builder.tables;
  std::vector<uint32_t> merged;
  const std::vector<Merge> merges =
      d.ranks.empty() ? merges_by_order(d, merged) : merges_by_rank(t, d, config, merged);
  if (merged.size() >= 1u << kRankBits) contradicts("fewer than 2^24 merges, got more");
  std::vector<uint64_t> pairs(slots_for(merges.size()), kNoPair);
  for (const Merge& merge : merges) {
    const uint64_t pair = static_cast<uint64_t>(merge.left) << kIdBits | merge.right;
    size_t at = pair_slot(pair, pairs.size());
    while (pairs[at] != kNoPair && pairs[at] >> kRankBits != pair)
      at = (at + 1) & (pairs.size() - 1);
    pairs[at] = pair << kRankBits | merge.rank;  // a merge listed twice: the last, as in a map
  }
  for (uint32_t& id : merged) id = id == kNoId ? 0 : id;  // ranks that no token has are not met
  builder.keep(t.pairs, std::move(pairs));
  builder.keep(t.merged, std::move(merged));
  if (!config.byte_level) return;
  std::vector<uint32_t> byte_pairs(1 << 16, kNoRank);
  for (uint32_t i = 0; i < byte_pairs.size(); ++i) {
    const uint32_t left = t.byte_ids[i >> 8], right = t.byte_ids[i & 255];
    if (left != kNoId && right != kNoId) byte_pairs[i] = find_pair(t, left, right);
  }
  builder.keep(t.byte_pairs, std::move(byte_pairs));
}

// Pairs of characters inside tokens that merges can make.
void build_joins(TableBuilder& builder, const Description& d) {
  Tables& t = builder.tables;
  std::vector<uint8_t> bits(kJoinBytes, 0);
  for (uint32_t id : t.merged) {
    const std::string_view bytes = d.table.bytes[id];                      // of specials too
    if (bytes.empty() || valid_until(bytes, 0) != bytes.size()) continue;  // in no text
    const char *at = bytes.data(), *end = at + bytes.size();
    for (uint32_t last = decode(at); at != end;) {
      const uint32_t point = decode(at);
      const size_t bit = join_bit(last, point);
      bits[bit / 8] |= 1 << bit % 8;
      last = point;
    }
  }
  builder.keep(t.joins, std::move(bits));
}

// BPE with affixes: what stands for a token in `words`, so that a word is looked up as it stands.
void build_affixed_words(TableBuilder& builder, const Description& d) {
  if (d.words.empty()) contradicts("words for affixes, got none");
  std::map<std::string, uint32_t> entries;
  for (uint32_t id = 0; id < d.in_model.size(); ++id) {
    if (d.in_model[id] && !d.words[id].empty()) entries.emplace(d.words[id], id);
  }
  builder.keep_words(entries);
}

// Which of those are what merging makes of them.
void mark_affixed_whole(TableBuilder& builder, const Description& d, const EncoderConfig& config) {
  std::vector<uint8_t> flags(builder.tables.flags.begin(), builder.tables.flags.end());
  Scratch scratch;
  TokenIds ids;
  builder.keep(builder.tables.config, std::vector<EncoderConfig>{config});
  for (uint32_t id = 0; id < flags.size(); ++id) {
    std::string word = d.words[id];
    if (!d.in_model[id] || word.empty() || word[0] == kContinuesMark) continue;
    if (config.affixes & kAffixEnd) {
      if (word.back() != kEndMark) continue;
      word.pop_back();
    }
    if (word.empty() || (!config.byte_level && valid_until(word, 0) != word.size())) continue;
    ids.clear();
    if (!config.ignore_merges) merge_bpe(builder.tables, word, scratch, ids);
    const bool whole = ids.size() == 1 && ids[0] == static_cast<int32_t>(id);
    if (config.ignore_merges || whole) flags[id] |= kWhole;
  }
  builder.keep(builder.tables.flags, std::move(flags));
}

// Which tokens are the encoding of their own bytes, so that a piece like them needs no merging.
void mark_whole(TableBuilder& builder, const Description& d, const EncoderConfig& config) {
  Tables& t = builder.tables;
  std::vector<uint8_t> flags(t.flags.begin(), t.flags.end());
  // The owners take a whole piece first; by rank of the merged token it comes to the same.
  const bool all = config.ignore_merges || config.owner == Owner::kTiktoken;
  Scratch scratch;
  TokenIds ids;
  builder.keep(t.config, std::vector<EncoderConfig>{config});
  for (uint32_t id = 0; id < flags.size(); ++id) {
    const std::string_view bytes = bytes_of(t, id);
    if (!d.in_model[id] || bytes.empty() || find_piece(t, bytes.data(), bytes.size()) != id)
      continue;
    if (!config.byte_level && valid_until(bytes, 0) != bytes.size()) continue;
    ids.clear();
    if (!all) merge_bpe(t, bytes, scratch, ids);
    if (all || (ids.size() == 1 && ids[0] == static_cast<int32_t>(id))) flags[id] |= kWhole;
  }
  builder.keep(t.flags, std::move(flags));
}

// The place of a unit.
uint32_t node_of(const Array<uint64_t>& words, const std::string& prefix) {
  uint64_t place = 0;
  for (char c : prefix) {
    const uint8_t byte = static_cast<uint8_t>(c);
    if (child_of(words.data, words[place], byte) == 0) return kNoId;
    place = base_of(words[place]) ^ byte;
  }
  return static_cast<uint32_t>(place);
}

void build_words(TableBuilder& builder, const Description& d, EncoderConfig& config) {
  std::map<std::string, uint32_t> entries;
  for (uint32_t id = 0; id < d.in_model.size(); ++id) {
    const std::string& word = d.words.empty() ? d.table.bytes[id] : d.words[id];
    if (!d.in_model[id] || word.empty()) continue;
    entries.emplace(word, id);
    config.longest = std::max(config.longest, static_cast<uint32_t>(word.size()));
  }
  builder.keep_words(entries);
  if (config.model == ModelKind::kWordPiece) {
    std::vector<uint8_t> flags(builder.tables.flags.begin(), builder.tables.flags.end());
    for (const auto& [word, id] : entries) {
      if (word.compare(0, d.continuing_prefix.size(), d.continuing_prefix) == 0) {
        flags[id] |= kContinues;
      }
    }
    builder.keep(builder.tables.flags, std::move(flags));
  }
  config.continuing_node = node_of(builder.tables.words, d.continuing_prefix);
  // Those of ids + 1, as units have them; 0 is no word.
  std::vector<double> scores(d.scores);
  if (!scores.empty()) scores.insert(scores.begin(), -std::numeric_limits<double>::infinity());
  if (config.owner == Owner::kSentencePiece) {
    builder.keep(builder.tables.scores_single, std::vector<float>(scores.begin(), scores.end()));
  } else {
    builder.keep(builder.tables.scores, std::move(scores));
  }
}

}  // namespace

void build_model(TableBuilder& builder, const Description& d, EncoderConfig& config) {
  const size_t size = d.table.bytes.size();
  if (d.in_model.size() != size) contradicts("in_model for every id");
  if (!d.words.empty() && d.words.size() != size) contradicts("words for every id");
  if (config.unk_id != kNoId && config.unk_id >= size)
    contradicts("the unknown token's id in range");
  if (config.model == ModelKind::kBpe) {
    build_pieces(builder, d);
    build_bytes(builder, d, config);
    build_merges(builder, d, config);
    if (config.affixes != 0) {
      build_affixed_words(builder, d);
      return mark_affixed_whole(builder, d, config);
    }
    const bool fuses = config.fuse_unk && !config.byte_fallback;
    if (!config.byte_level && !config.ignore_merges && !fuses) build_joins(builder, d);
    mark_whole(builder, d, config);
    return;
  }
  if (config.byte_level) {
    throw Error(
        ErrorKind::kUnsupportedTokenizer,
        "[Vocabulary] expected a supported pre-tokeniser, got ByteLevel before a model that "
        "is not BPE");
  }
  if (config.model == ModelKind::kUnigram && d.scores.size() != size) {
    contradicts("a score for every id");
  }
  build_bytes(builder, d, config);
  build_words(builder, d, config);
}

}  // namespace anydraft::detail
