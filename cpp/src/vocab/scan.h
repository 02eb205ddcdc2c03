// Pre-tokenisers as hand-written scanners: each cuts text into pieces that are encoded on their
// own.
#pragma once

#include <cstdint>
#include <string_view>

namespace anydraft::detail {

struct Piece {
  const char* begin;
  const char* end;  // == begin: nothing is left
};

// The first piece of [at, end), which is valid UTF-8 and not empty. `categories` is
// unicode().category, handed in so that the inner loops need not ask for it. Whatever a scanner
// decides about a piece depends on text before it in no way, and on text after it at most through
// the run of white space, or of letters and marks, that follows, and three characters more: that is
// what incremental encoding relies on (stable_limit).
using Scanner = Piece (*)(const uint8_t* categories, const char* at, const char* end);

enum class ScanKind : uint32_t {
  kNone,
  kGpt2,
  kCl100k,
  kCl100kTiktoken,
  kQwen,
  kO200k,
  kTekken,
  kDigits3,
  kCjk,
  kDeepseekWords,
  kDigitsEach,
  kDigitsRun,
  kPunctuation,
  kWhitespace,
  kWhitespaceSplit,
  kBert,
  kMetaspace,
  kCount,
};

// nullptr for kNone.
Scanner scanner(ScanKind kind);

// By the exact text of a Split's regular expression; kNone: not known.
ScanKind scanner_of_pattern(std::string_view pattern);

// Where a piece may end at the latest to be sure that no text after [begin, end) changes it.
const char* stable_limit(const uint8_t* categories, const char* begin, const char* end);

Piece scan_gpt2(const uint8_t* categories, const char* at, const char* end);
Piece scan_cl100k(const uint8_t* categories, const char* at, const char* end);
Piece scan_cl100k_tiktoken(const uint8_t* categories, const char* at, const char* end);
Piece scan_qwen(const uint8_t* categories, const char* at, const char* end);
Piece scan_o200k(const uint8_t* categories, const char* at, const char* end);
Piece scan_tekken(const uint8_t* categories, const char* at, const char* end);
Piece scan_digits3(const uint8_t* categories, const char* at, const char* end);
Piece scan_cjk(const uint8_t* categories, const char* at, const char* end);
Piece scan_deepseek_words(const uint8_t* categories, const char* at, const char* end);
Piece scan_digits_each(const uint8_t* categories, const char* at, const char* end);
Piece scan_digits_run(const uint8_t* categories, const char* at, const char* end);
Piece scan_punctuation(const uint8_t* categories, const char* at, const char* end);
Piece scan_whitespace(const uint8_t* categories, const char* at, const char* end);
Piece scan_whitespace_split(const uint8_t* categories, const char* at, const char* end);
Piece scan_bert(const uint8_t* categories, const char* at, const char* end);
Piece scan_metaspace(const uint8_t* categories, const char* at, const char* end);

}  // namespace anydraft::detail
