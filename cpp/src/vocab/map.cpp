#include <unordered_map>

#include "anydraft/vocabulary.h"

namespace anydraft {
namespace {

using ByBytes = std::unordered_map<std::string_view, int32_t>;

// The id that stands for a byte string: an ordinary token before a byte fallback, then the lowest.
ByBytes by_bytes(const Vocabulary& vocabulary) {
  ByBytes ids;
  ids.reserve(vocabulary.size());
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    const std::string_view bytes = vocabulary.token_bytes(id);
    if (bytes.empty()) continue;
    const auto [slot, fresh] = ids.emplace(bytes, id);
    if (!fresh && vocabulary.is_byte_fallback(slot->second) && !vocabulary.is_byte_fallback(id)) {
      slot->second = id;
    }
  }
  return ids;
}

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
  TokenIds ids(from.size(), -1);
  for (int32_t id = 0; id < from.size(); ++id) {
    const auto found = to_ids.find(from.token_bytes(id));
    if (found != to_ids.end()) ids[id] = found->second;
  }
  map_specials(from, to, ids);
  return ids;
}

}  // namespace

VocabularyMap::VocabularyMap(const Vocabulary& draft, const Vocabulary& target) {
  const ByBytes draft_ids = by_bytes(draft), target_ids = by_bytes(target);
  for (const auto& entry : draft_ids) shared += static_cast<int64_t>(target_ids.count(entry.first));
  to_target = ids_in(draft, target, target_ids);
  to_draft = ids_in(target, draft, draft_ids);
  std::vector<int32_t> count(target.size(), 0);
  for (int32_t token : to_target) {
    if (token >= 0) ++count[token];
  }
  std::map<int32_t, TokenIds> sources;
  for (int32_t id = 0; id < draft.size(); ++id) {
    if (to_target[id] >= 0 && count[to_target[id]] > 1) sources[to_target[id]].push_back(id);
  }
  merged.assign(sources.begin(), sources.end());
}

}  // namespace anydraft
