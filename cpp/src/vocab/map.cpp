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

// The distinct byte strings of the draft vocabulary, and who stands for each on both sides: an
// ordinary token before a byte fallback, then the lowest id. Open addressing, at most half full.
class Meeting {
 public:
  Meeting(const Vocabulary& draft, const Vocabulary& target) : draft_(draft) {
    size_t capacity = 16;
    while (capacity < 2 * static_cast<size_t>(draft.size())) capacity *= 2;
    slots_.assign(capacity, Slot{});
    draft_slots_ = each(draft, [&](int32_t id, uint32_t hash, Slot& slot) {
      slot.hash = hash;
      choose(draft, slot.draft, id);
    });
    target_slots_ = each(target, [&](int32_t id, uint32_t, Slot& slot) {
      if (slot.draft >= 0) choose(target, slot.target, id);
    });
  }

  // The other side's id for every id; -1: none.
  TokenIds to_target() const { return ids_at(draft_slots_, &Slot::target); }
  TokenIds to_draft() const { return ids_at(target_slots_, &Slot::draft); }

  int64_t shared() const {
    return std::count_if(slots_.begin(), slots_.end(),
                         [](const Slot& slot) { return slot.target >= 0; });
  }

 private:
  struct Slot {
    uint32_t hash = 0;
    int32_t draft = -1;   // -1: a free slot
    int32_t target = -1;  // -1: the target has no such token
  };
  static constexpr uint32_t kNone = 0xFFFFFFFF;

  static void choose(const Vocabulary& vocabulary, int32_t& chosen, int32_t id) {
    const bool better =
        chosen < 0 || (vocabulary.is_byte_fallback(chosen) && !vocabulary.is_byte_fallback(id));
    if (better) chosen = id;
  }

  // Calls visit(id, hash, slot) for every id that has bytes, and returns the slot of every id. The
  // hashes come first, so that the slots can be asked for ahead of time.
  template <typename Visit>
  std::vector<uint32_t> each(const Vocabulary& vocabulary, Visit visit) {
    constexpr int32_t kAhead = 16;
    const int32_t size = vocabulary.size();
    std::vector<uint32_t> hashes(size + kAhead, 0), slots(size, kNone);
    for (int32_t id = 0; id < size; ++id) hashes[id] = hash_of(vocabulary.token_bytes(id));
    for (int32_t id = 0; id < size; ++id) {
      __builtin_prefetch(&slots_[hashes[id + kAhead] & (slots_.size() - 1)]);
      const std::string_view bytes = vocabulary.token_bytes(id);
      if (bytes.empty()) continue;
      slots[id] = slot_of(bytes, hashes[id]);
      visit(id, hashes[id], slots_[slots[id]]);
    }
    return slots;
  }

  // Where these bytes are, or the free slot where they would go.
  uint32_t slot_of(std::string_view bytes, uint32_t hash) const {
    const uint32_t mask = static_cast<uint32_t>(slots_.size() - 1);
    uint32_t at = hash & mask;
    while (slots_[at].draft >= 0 &&
           (slots_[at].hash != hash || draft_.token_bytes(slots_[at].draft) != bytes)) {
      at = (at + 1) & mask;
    }
    return at;
  }

  TokenIds ids_at(const std::vector<uint32_t>& slots, int32_t Slot::* side) const {
    TokenIds ids(slots.size(), -1);
    for (size_t id = 0; id < slots.size(); ++id) {
      if (slots[id] != kNone) ids[id] = slots_[slots[id]].*side;
    }
    return ids;
  }

  const Vocabulary& draft_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> draft_slots_, target_slots_;
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
  const Meeting meeting(draft, target);
  shared = meeting.shared();
  to_target = meeting.to_target();
  to_draft = meeting.to_draft();
  map_specials(draft, target, to_target);
  map_specials(target, draft, to_draft);
  merged = several(to_target, target.size());
}

}  // namespace anydraft
