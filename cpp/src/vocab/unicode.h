// What the owners' libraries know about code points (unicode_tables.inc says which editions).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace anydraft::detail {

// General categories, in the order of unicode_tables.inc; white space among Cc has one of its own.
enum Category : uint8_t {
  kCn,
  kLu,
  kLl,
  kLt,
  kLm,
  kLo,
  kMn,
  kMc,
  kMe,
  kNd,
  kNl,
  kNo,
  kPc,
  kPd,
  kPs,
  kPe,
  kPi,
  kPf,
  kPo,
  kSm,
  kSc,
  kSk,
  kSo,
  kZs,
  kZl,
  kZp,
  kCc,
  kCf,
  kCo,
  kCs,
  kCcSpace,
};

// Sets of categories, as bits.
constexpr uint32_t bits() { return 0; }
template <typename... Rest>
constexpr uint32_t bits(Category first, Rest... rest) {
  return (1u << first) | bits(rest...);
}
constexpr uint32_t kLetters = bits(kLu, kLl, kLt, kLm, kLo);
constexpr uint32_t kMarks = bits(kMn, kMc, kMe);
constexpr uint32_t kNumbers = bits(kNd, kNl, kNo);
constexpr uint32_t kPunctuation = bits(kPc, kPd, kPs, kPe, kPi, kPf, kPo);
constexpr uint32_t kSymbols = bits(kSm, kSc, kSk, kSo);
constexpr uint32_t kSpaces = bits(kZs, kZl, kZp, kCcSpace);

struct UnicodeTables {
  std::vector<uint8_t> category;  // [0x110000]
  std::vector<uint8_t> property;  // [0x110000] Property bits, for the rarer questions
  std::vector<uint8_t> cluster;   // [0x110000] Cluster bits
};
const UnicodeTables& unicode();  // made once, on first use

enum Property : uint8_t {
  kNumeric = 1,       // Rust's is_numeric, as the pre-tokeniser Digits asks
  kPunctuated = 2,    // the pre-tokeniser Punctuation and BERT's
  kWord = 4,          // \w of the regex crate
  kAccent = 8,        // removed by StripAccents
  kBertAccent = 16,   // removed by BERT's strip_accents
  kBertRemoved = 32,  // removed by BERT's clean_text
  kBertSpace = 64,    // becomes a space there
  kBertCjk = 128,     // gets spaces around it
};

// How a character takes part in grapheme clusters.
enum Cluster : uint8_t {
  kClusterExtends = 1,   // belongs to what stands before it
  kClusterPrepends = 2,  // takes what follows
  kClusterAlone = 4,     // stands for itself: controls, line ends
};

inline uint32_t category_bit(uint32_t point) { return 1u << unicode().category[point]; }

// The code point at `at`, which must be valid UTF-8; moves `at` behind it.
inline uint32_t decode(const char*& at) {
  const auto byte = [&](int i) { return static_cast<uint32_t>(static_cast<uint8_t>(at[i])); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return ++at, lead;
  if (lead < 0xE0) {
    const uint32_t point = (lead & 0x1F) << 6 | (byte(1) & 0x3F);
    return at += 2, point;
  }
  if (lead < 0xF0) {
    const uint32_t point = (lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    return at += 3, point;
  }
  const uint32_t point =
      (lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
  return at += 4, point;
}

inline const char* next_character(const char* at) {
  const uint8_t lead = static_cast<uint8_t>(*at);
  return at + (lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4);
}

inline const char* previous_character(const char* at) {
  do --at;
  while ((static_cast<uint8_t>(*at) & 0xC0) == 0x80);
  return at;
}

// The code point that GPT-2 shows for a byte: itself where it is printable, else from U+0100 on.
uint32_t stand_in(uint8_t byte);

// The end of the grapheme cluster that begins at `at`, as far as clusters of fewer than six bytes
// depend on it: line ends, marks, and signs that go before (UAX 29; no Hangul syllables or flags).
const char* cluster_end(const char* at, const char* end);

void append_utf8(std::string& to, uint32_t point);

}  // namespace anydraft::detail
