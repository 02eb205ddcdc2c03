#include <algorithm>
#include <cstring>

#include "anydraft/vocabulary.h"

namespace anydraft {
namespace {

// Multiply and fold, eight bytes at a time. Only speed hangs on it: equality compares the bytes.
uint64_t mix(uint64_t x) {
  x *= 0x9E3779B97F4A7C15u;
  return x ^ (x >> 32);
}

uint32_t hash_of(std::string_view bytes) {
  uint64_t hash = bytes.size(), word = 0;
  size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    std::memcpy(&word, bytes.data() + at, 8);
    hash = mix(hash ^ word);
  }
  word = 0;
  if (at < bytes.size()) std::memcpy(&word, bytes.data() + at, bytes.size() - at);
  return static_cast<uint32_t>(mix(mix(hash ^ word)));
}

// The id that stands for a byte string: an ordinary token before a byte fallback, then the lowest.
// Open addressing, at most half full.
class ByBytes {
 public:
  explicit ByBytes(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {
    size_t capacity = 16;
    while (capacity < 2 * static_cast<size_t>(vocabulary.size())) capacity *= 2;
    slots_.assign(capacity, Slot{0, -1});
    for (int32_t id = 0; id < vocabulary.size(); ++id) insert(id);
  }

  // -1: none has these bytes. Empty bytes are nobody's.
  int32_t find(std::string_view bytes) const {
    return bytes.empty() ? -1 : slots_[slot_of(bytes, hash_of(bytes))].id;
  }

  // Distinct byte strings that `other` has too.
  int64_t shared(const ByBytes& other) const {
    return std::count_if(slots_.begin(), slots_.end(), [&](const Slot& slot) {
      return slot.id >= 0 && other.find(vocabulary_.token_bytes(slot.id)) >= 0;
    });
  }

 private:
  struct Slot {
    uint32_t hash;
    int32_t id;  // -1: free
  };

  // Where these bytes are, or the free slot where they would go.
  size_t slot_of(std::string_view bytes, uint32_t hash) const {
    const size_t mask = slots_.size() - 1;
    size_t at = hash & mask;
    while (slots_[at].id >= 0 &&
           (slots_[at].hash != hash || vocabulary_.token_bytes(slots_[at].id) != bytes)) {
      at = (at + 1) & mask;
    }
    return at;
  }

  void insert(int32_t id) {
    const std::string_view bytes = vocabulary_.token_bytes(id);
    if (bytes.empty()) return;
    const uint32_t hash = hash_of(bytes);
    Slot& slot = slots_[slot_of(bytes, hash)];
    const bool better =
        slot.id < 0 || (vocabulary_.is_byte_fallback(slot.id) && !vocabulary_.is_byte_fallback(id));
    if (better) slot = {hash, id};
  }

  const Vocabulary& vocabulary_;
  std::vector<Slot> slots_;
};

// Specials of `from` in ids of `to`: the same text, else the same role, else the end of a turn for
// the end of the text (either ends a request).
void map_specials(const Vocabulary& from, const Vocabulary& to, TokenIds& ids) {
  for (const auto& [text, id] : from.specials()) {
    const auto found = to.specials().find(text);
    if (found != to.specials().end()) ids[id] = found->second;
  }
  static const char* const kRoles[][2] = {{"bos", "bos"},           {"eos", "eos"},
                                          {"turn_end", "turn_end"}, {"turn_start", "turn_start"},
                                          {"eos", "turn_end"},      {"turn_end", "eos"}};
  for (const auto& [ours, theirs] : kRoles) {
    if (to.role(theirs).empty()) continue;
    for (int32_t id : from.role(ours)) {
      if (ids[id] < 0) ids[id] = to.role(theirs)[0];
    }
  }
}

TokenIds ids_in(const Vocabulary& from, const Vocabulary& to, const ByBytes& to_ids) {
  TokenIds ids(from.size());
  for (int32_t id = 0; id < from.size(); ++id) ids[id] = to_ids.find(from.token_bytes(id));
  map_specials(from, to, ids);
  return ids;
}

// Targets that several drafter ids stand for, in order, with those ids in order.
std::vector<std::pair<int32_t, TokenIds>> several(const TokenIds& to_target, int32_t targets) {
  std::vector<int32_t> count(targets, 0);
  for (int32_t token : to_target) {
    if (token >= 0) ++count[token];
  }
  std::vector<std::pair<int32_t, TokenIds>> merged;
  for (int32_t token = 0; token < targets; ++token) {
    if (count[token] < 2) continue;
    count[token] = -static_cast<int32_t>(merged.size()) - 1;  // where it stands in merged
    merged.push_back({token, {}});
  }
  for (size_t id = 0; id < to_target.size(); ++id) {
    const int32_t at = to_target[id] >= 0 ? count[to_target[id]] : 0;
    if (at < 0) merged[-at - 1].second.push_back(static_cast<int32_t>(id));
  }
  return merged;
}

}  // namespace

VocabularyMap::VocabularyMap(const Vocabulary& draft, const Vocabulary& target) {
  const ByBytes draft_ids(draft), target_ids(target);
  shared = draft_ids.shared(target_ids);
  to_target = ids_in(draft, target, target_ids);
  to_draft = ids_in(target, draft, draft_ids);
  merged = several(to_target, target.size());
}

}  // namespace anydraft
