// Text in, piece by piece; tokens out, as if it had come at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "anydraft/vocabulary.h"

namespace anydraft {

// ids() is Vocabulary::encode of everything fed since the last special, for any split of it, and
// only the tail that more text could change is encoded again. How long that tail is:
// - where a pre-tokeniser cuts (byte-level BPE): the last piece, and the run of white space or of
//   letters before the end;
// - SentencePiece BPE: back to the last two characters that stand together in no token, a word as a
//   rule;
// - Unigram over whole texts: back to where the best paths to all places within one token's length
//   of the end meet;
// - a vocabulary whose texts a caller's function encodes: everything since the last special.
// The part of the text behind an unfinished character or an unfinished added token waits too.
class Retokenizer {
 public:
  explicit Retokenizer(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}

  // Throws what Vocabulary::encode throws; then nothing has been fed.
  void feed(std::string_view bytes);
  // A special, or any token that is no text: what was fed before is final.
  void feed_special(int32_t id);
  void clear();

  const TokenIds& ids() const { return ids_; }
  // End of each id, counted in bytes, a special as one.
  const std::vector<size_t>& ends() const { return ends_; }
  // Leading ids that no more text can change.
  size_t stable() const { return stable_; }

 private:
  void encode_tail();

  Vocabulary vocabulary_;
  TokenIds ids_;
  std::vector<size_t> ends_;
  size_t stable_ = 0;
  double score_ = 0;  // Unigram: the sum at the beginning of the tail
  std::string tail_;  // bytes after the stable ids
};

}  // namespace anydraft
