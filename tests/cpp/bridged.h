// A pair of vocabularies, and a drafter's rows as the bridges write them over the target's tokens.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "anydraft/sampling.h"
#include "bridge/packed_map.h"
#include "bridge/tli.h"

namespace anydraft::testing {

// All strings of up to `most` of 12 letters, then random longer ones up to `size`; `twice` of them
// stand there a second time.
inline std::vector<std::string> words(size_t size, int most, size_t twice,
                                      std::mt19937_64& random) {
  std::vector<std::string> all(1);
  for (size_t i = 0; i < all.size() && static_cast<int>(all[i].size()) < most; ++i) {
    for (char letter = 'a'; letter < 'm'; ++letter) all.push_back(all[i] + letter);
  }
  std::set<std::string> known(all.begin(), all.end());
  while (all.size() < size + 1) {
    std::string word;
    for (size_t length = most + 1 + random() % 2; word.size() < length;) {
      word += static_cast<char>('a' + random() % 12);
    }
    if (known.insert(word).second) all.push_back(word);
  }
  all.erase(all.begin());
  for (size_t i = 0; i < twice; ++i) all.push_back(all[random() % size]);
  std::shuffle(all.begin(), all.end(), random);
  return all;
}

inline Vocabulary vocabulary(const std::vector<std::string>& bytes) {
  std::map<std::string, int32_t, std::less<>> ids;
  for (size_t id = 0; id < bytes.size(); ++id) ids.emplace(bytes[id], static_cast<int32_t>(id));
  return Vocabulary({bytes, {}, {}, {}, {}}, [ids](std::string_view text) {
    TokenIds out;
    while (!text.empty()) {
      size_t length = std::min<size_t>(text.size(), 5);
      while (ids.find(text.substr(0, length)) == ids.end()) --length;
      out.push_back(ids.find(text.substr(0, length))->second);
      text.remove_prefix(length);
    }
    return out;
  });
}

// A drafter of 2250 ids, 250 of them a second time, over a target of 4700 (two chunks), with logits
// wider than both.
struct Bridged {
  static constexpr int64_t kVocab = 4800, kDraftVocab = 2304, kRows = 6;
  std::mt19937_64 random{5};
  Vocabulary target = vocabulary(words(4700, 3, 0, random));
  Vocabulary drafter = vocabulary(words(2000, 2, 250, random));
  VocabularyMap map{drafter, target};
  DraftTokenTrie token_trie{drafter, target, map};
  std::vector<int32_t> by_bytes = pack_map(map, kVocab, kDraftVocab);
  std::vector<int32_t> by_spelling =
      pack_token_trie(token_trie, drafter.size(), kVocab, kDraftVocab);
  std::vector<float> logits;
  RowsView rows;

  Bridged() {
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < kRows * kDraftVocab; ++i) {
      logits.push_back(random() % 50 ? 2.5f * normal(random) : -INFINITY);
    }
    rows = {logits.data(), DType::kFloat32, kRows, kDraftVocab, kDraftVocab};
  }

  // The rows over target ids, as the CPU's session writes them.
  std::vector<float> projected(const SamplingParams& params) const {
    std::vector<float> all;
    for (int64_t row = 0; row < kRows; ++row) {
      const std::vector<float> one = detail::project(rows, row, map, kVocab, params);
      all.insert(all.end(), one.begin(), one.end());
    }
    return all;
  }
  std::vector<float> psi(const std::vector<detail::Distribution>& weighed) const {
    std::vector<float> all;
    for (const detail::Distribution& distribution : weighed) {
      const std::vector<float> one = token_trie.psi(distribution, token_trie.root(), kVocab);
      all.insert(all.end(), one.begin(), one.end());
    }
    return all;
  }
  std::vector<detail::Distribution> distributions(const SamplingParams& params) const {
    std::vector<detail::Distribution> all;
    for (int64_t row = 0; row < kRows; ++row) all.push_back(make_distribution(rows, row, params));
    return all;
  }
};

inline RowDistribution known(const detail::Distribution& distribution) {
  return {distribution.scale, distribution.lower, distribution.exponent, distribution.one_hot,
          distribution.inverse_total};
}
inline std::vector<RowDistribution> known(const std::vector<detail::Distribution>& distributions) {
  std::vector<RowDistribution> all;
  for (const detail::Distribution& distribution : distributions) all.push_back(known(distribution));
  return all;
}

inline std::vector<SamplingParams> several_params() {
  std::vector<SamplingParams> all(6);
  all[1].temperature = 0.7;
  all[2].temperature = 0;
  all[3].top_k = 30;
  all[4].temperature = 1.3, all[4].top_p = 0.9;
  all[5].top_k = 200, all[5].min_p = 0.01;
  return all;
}

}  // namespace anydraft::testing
