// The patterns that also cut where capitals begin: o200k (GPT-4o, gpt-oss) and tekken.
#include "vocab/scan_parts.h"

namespace anydraft::detail {
namespace {

constexpr uint32_t kUpper = bits(kLu, kLt, kLm, kLo) | kMarks;
constexpr uint32_t kLower = bits(kLl, kLm, kLo) | kMarks;
constexpr uint32_t kOther = ~(kSpaces | kLetters | kNumbers);

// The last character of [at, end) that may stand on either side; nullptr: none.
const char* last_either(const uint8_t* categories, const char* at, const char* end) {
  while (end != at) {
    end = previous_character(end);
    if (look(categories, end, end + 4).bit & kUpper & kLower) return end;
  }
  return nullptr;
}

// A word: kUpper* kLower+, the former giving back what the latter needs; else kUpper+. A mark may
// be the character before a word ([^\r\n\p{L}\p{N}]?) or its beginning: first the one, then the
// other. nullptr: no word.
const char* word_end(const uint8_t* categories, const char* at, const char* end,
                     const Character& first) {
  const bool prefixed = (first.bit & (kLetters | kNumbers)) == 0;
  const char* begin = prefixed ? first.next : at;
  const char* upper = run(categories, begin, end, kUpper);
  const char* lower = run(categories, upper, end, kLower);
  if (lower != upper) return lower;
  if (const char* either = last_either(categories, begin, upper)) return next_character(either);
  if (prefixed && (first.bit & kMarks)) return first.next;
  return upper != begin ? upper : nullptr;
}

template <int kDigits, bool kContractions>
Piece scan_words(const uint8_t* categories, const char* at, const char* end) {
  const Character first = look(categories, at, end);
  if (first.bit & kNumbers) return {at, run_of(categories, first.next, end, kNumbers, kDigits - 1)};
  if (*at != '\n' && *at != '\r') {
    const char* stop = word_end(categories, at, end, first);
    if (stop != nullptr) return {at, kContractions ? contraction<true>(stop, end) : stop};
  }
  const char* start = *at == ' ' ? first.next : at;
  const char* other = run(categories, start, end, kOther);
  if (other == start) return {at, space_end<true>(categories, at, end)};
  while (other != end && (*other == '\n' || *other == '\r' || *other == '/')) ++other;
  return {at, other};
}

}  // namespace

Piece scan_o200k(const uint8_t* categories, const char* at, const char* end) {
  return scan_words<3, true>(categories, at, end);
}

Piece scan_tekken(const uint8_t* categories, const char* at, const char* end) {
  return scan_words<1, false>(categories, at, end);
}

}  // namespace anydraft::detail
