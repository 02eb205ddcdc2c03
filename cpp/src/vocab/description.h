// A tokeniser as its file describes it, before it becomes tables.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "anydraft/vocabulary.h"
#include "vocab/tables.h"

namespace anydraft::detail {

// A normaliser, pre-tokeniser or decoder with its options, named as tokenizer.json names them.
struct Component {
  std::string type;
  std::map<std::string, std::string> texts;
  std::map<std::string, int64_t> numbers;  // flags too

  std::string text(const std::string& key, const std::string& otherwise = "") const {
    const auto found = texts.find(key);
    return found == texts.end() ? otherwise : found->second;
  }
  int64_t number(const std::string& key, int64_t otherwise = 0) const {
    const auto found = numbers.find(key);
    return found == numbers.end() ? otherwise : found->second;
  }
};

struct AddedDescription {
  std::string text;
  uint32_t id = 0;
  uint32_t flags = 0;  // AddedFlag
};

struct Description {
  Vocabulary::Table table;  // its bytes have spaces where the owner writes space signs
  EncoderConfig config;     // model, owner and the model's own options; the rest is derived
  std::vector<Component> normalizer, pre_tokenizer, decoder;  // sequences opened up
  std::vector<AddedDescription> added;
  std::vector<uint8_t> in_model;  // [size] 1: an ordinary entry of the model
  // [size] entries as the model spells them, where that is not their bytes: WordPiece, Unigram, and
  // BPE with affixes, whose marks are kContinuesMark and kEndMark; or empty.
  std::vector<std::string> words;
  std::string continuing_prefix;                // WordPiece
  std::vector<std::array<uint32_t, 3>> merges;  // BPE, by rank: left, right, what they make
  std::vector<uint32_t> ranks;  // BPE without merges: [size] rank of each token, kNoId: none
  std::vector<double> scores;   // Unigram: [size]
  std::string charsmap;
};

// Throws Error(kUnsupportedTokenizer) that names what is not supported, Error(kVocabulary) for a
// description that contradicts itself.
OwnedTables build_tables(const Description& description);
OwnedTables build_tables(const Vocabulary::Table& table);  // without an encoder

}  // namespace anydraft::detail
