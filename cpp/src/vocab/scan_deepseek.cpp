// DeepSeek's three patterns, one after the other: groups of digits, Chinese and Japanese, words.
#include "vocab/scan_parts.h"

namespace anydraft::detail {
namespace {

constexpr uint32_t kMarksOfText = kPunctuation | kSymbols;
constexpr uint32_t kWords = kLetters | kMarks;

bool ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool ascii_punctuation(char c) {
  return c > ' ' && c < 0x7F && !ascii_letter(c) && !(c >= '0' && c <= '9');
}

bool cjk(uint32_t point) {
  return (point >= 0x4E00 && point <= 0x9FA5) || (point >= 0x3040 && point <= 0x30FF);
}

// End of the match of the third pattern at `at`; nullptr: none begins here.
const char* match(const uint8_t* categories, const char* at, const char* end) {
  const Character first = look(categories, at, end);
  if (first.bit & kWords) return run(categories, first.next, end, kWords);
  if (ascii_punctuation(*at) && first.next != end && ascii_letter(*first.next)) {
    const char* stop = first.next;
    while (stop != end && ascii_letter(*stop)) ++stop;
    return stop;
  }
  const Character second = look(categories, first.next, end);
  const bool prefix = *at != '\n' && *at != '\r' && (first.bit & kMarksOfText) == 0;
  if (prefix && (second.bit & kWords)) return run(categories, second.next, end, kWords);
  const char* start = *at == ' ' ? first.next : at;
  const char* stop = run(categories, start, end, kMarksOfText);
  if (stop != start) return newlines(stop, end);
  return first.bit & kSpaces ? space_end<true>(categories, at, end) : nullptr;
}

}  // namespace

// Text between matches is a piece too.
Piece scan_deepseek_words(const uint8_t* categories, const char* at, const char* end) {
  if (const char* stop = match(categories, at, end)) return {at, stop};
  const char* stop = next_character(at);
  while (stop != end && match(categories, stop, end) == nullptr) stop = next_character(stop);
  return {at, stop};
}

Piece scan_digits3(const uint8_t* categories, const char* at, const char* end) {
  const char* digits = run_of(categories, at, end, kNumbers, 3);
  return {at, digits != at ? digits : run(categories, at, end, ~kNumbers)};
}

Piece scan_cjk(const uint8_t*, const char* at, const char* end) {
  const auto is_cjk = [](const char* character) { return cjk(decode(character)); };
  const bool inside = is_cjk(at);
  const char* stop = next_character(at);
  while (stop != end && is_cjk(stop) == inside) stop = next_character(stop);
  return {at, stop};
}

}  // namespace anydraft::detail
