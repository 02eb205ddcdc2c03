// The models: from a piece of text to ids.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "anydraft/vocabulary.h"
#include "vocab/mark.h"
#include "vocab/tables.h"

namespace anydraft::detail {

// Room that encoding needs, kept between pieces so that nothing is allocated for each.
struct Scratch {
  struct Symbol {
    uint32_t id, rank;  // rank of the pair with the next
    int32_t previous, next;
  };
  // Unigram: the best path to a place; its last token as where it begins, and id + 1 (0: unknown).
  // SentencePiece's sums are floats.
  template <typename Score>
  struct Node {
    Score score;
    uint32_t from, word;
  };
  std::vector<Symbol> symbols;
  std::vector<uint64_t> heap;
  std::vector<Node<float>> nodes_single;
  std::vector<Node<double>> nodes;
  TokenIds path;
  std::string normalized, other, spaced, word;
  std::vector<std::string> stand_ins;  // by level
};

// Byte pair encoding of one piece of the pre-tokeniser. Sennrich et al. 2016.
// `mark`, if not null, gets the last place in the piece where it can be cut for good.
void encode_bpe(const Tables& tables, std::string_view piece, Scratch& scratch, TokenIds& ids,
                Mark* mark);

// The most probable segmentation. Kudo 2018. `score` is the sum up to here: SentencePiece adds in
// float along a whole text, and ties depend on it. `exact`: the text of a byte token is text.
void encode_unigram(const Tables& tables, std::string_view piece, bool exact, double& score,
                    Scratch& scratch, TokenIds& ids, Mark* mark);

// The longest match from the left; a word that cannot be spelled is one unknown token.
void encode_word_piece(const Tables& tables, std::string_view word, TokenIds& ids);

// One word, joined by merges alone, whatever token it may be as a whole.
void merge_bpe(const Tables& tables, std::string_view piece, Scratch& scratch, TokenIds& ids);

// Descends from `node`; kNoId: no such child.
inline uint32_t child(const Trie& trie, uint32_t node, uint8_t label) {
  const uint32_t first = trie.firsts[node], end = trie.firsts[node + 1];
  if (end - first == 256) return first + label;
  if (end - first > 16) {
    const uint8_t* found =
        std::lower_bound(trie.labels.data + first, trie.labels.data + end, label);
    return found != trie.labels.data + end && *found == label
               ? static_cast<uint32_t>(found - trie.labels.data)
               : kNoId;
  }
  for (uint32_t at = first; at < end; ++at) {
    if (trie.labels[at] == label) return at;
  }
  return kNoId;
}

}  // namespace anydraft::detail
