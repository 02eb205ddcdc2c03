#include "bridge/packed_map.h"

#include <string>

#include "anydraft/error.h"

namespace anydraft {
namespace {

void expect_positive(int64_t target_vocab, int64_t draft_vocab) {
  if (target_vocab > 0 && draft_vocab > 0) return;
  throw Error(ErrorKind::kValue, "[pack_map] expected vocabularies of at least one token, got " +
                                     std::to_string(target_vocab) + " and " +
                                     std::to_string(draft_vocab));
}

// `to_target` of each drafter id, -1: none.
std::vector<int32_t> pack(const TokenIds& to_target, int64_t target_vocab, int64_t draft_vocab) {
  std::vector<int32_t> count(target_vocab);
  const auto in_target = [&](int32_t target) { return target >= 0 && target < target_vocab; };
  for (int32_t target : to_target) {
    if (in_target(target)) ++count[target];
  }
  std::vector<int32_t> packed(1 + target_vocab, detail::kNoDrafterId);
  std::vector<TokenIds> groups;
  for (int64_t id = 0; id < static_cast<int64_t>(to_target.size()) && id < draft_vocab; ++id) {
    const int32_t target = to_target[id];
    if (!in_target(target)) continue;
    int32_t& place = packed[1 + target];
    if (count[target] == 1) {
      place = static_cast<int32_t>(id);
      continue;
    }
    if (place == detail::kNoDrafterId) {
      place = -2 - static_cast<int32_t>(groups.size());
      groups.emplace_back();
    }
    groups[-2 - place].push_back(static_cast<int32_t>(id));
  }
  packed[0] = static_cast<int32_t>(groups.size());
  int32_t start = 0;
  for (const TokenIds& ids : groups) {
    packed.push_back(start);
    start += static_cast<int32_t>(ids.size());
  }
  packed.push_back(start);
  for (const TokenIds& ids : groups) packed.insert(packed.end(), ids.begin(), ids.end());
  return packed;
}

}  // namespace

std::vector<int32_t> pack_map(const VocabularyMap& map, int64_t target_vocab, int64_t draft_vocab) {
  expect_positive(target_vocab, draft_vocab);
  return pack(map.to_target, target_vocab, draft_vocab);
}

std::vector<int32_t> pack_token_trie(const DraftTokenTrie& token_trie, int64_t draft_size,
                                     int64_t target_vocab, int64_t draft_vocab) {
  expect_positive(target_vocab, draft_vocab);
  TokenIds first;
  for (int32_t id = 0; id < draft_size; ++id) first.push_back(token_trie.first_of(id));
  std::vector<int32_t> packed = pack(first, target_vocab, draft_vocab);
  packed.push_back(token_trie.size());
  for (int32_t i = 0; i < token_trie.size(); ++i) {
    const int32_t id = token_trie.drafter_id(i);
    packed.push_back(id < draft_vocab ? id : detail::kNoDrafterId);
  }
  packed.insert(packed.end(), token_trie.starts().begin(), token_trie.starts().end());
  packed.insert(packed.end(), token_trie.tokens().begin(), token_trie.tokens().end());
  return packed;
}

}  // namespace anydraft
