// Pre-tokenisers that stand for themselves: digits, punctuation, white space, the sign for spaces.
#include "vocab/scan_parts.h"

namespace anydraft::detail {
namespace {

// The first character with a property, or the end.
const char* find(const char* at, const char* end, uint8_t mask) {
  const std::vector<uint8_t>& property = unicode().property;
  while (at != end) {
    const char* next = at;
    if (property[decode(next)] & mask) return at;
    at = next;
  }
  return end;
}

// A run of characters without the property, or one character that has it.
Piece isolate(const char* at, const char* end, uint8_t mask) {
  const char* stop = find(at, end, mask);
  return {at, stop == at ? next_character(at) : stop};
}

bool has(const char* at, uint8_t mask) { return (unicode().property[decode(at)] & mask) != 0; }

}  // namespace

Piece scan_digits_each(const uint8_t*, const char* at, const char* end) {
  return isolate(at, end, kNumeric);
}

Piece scan_digits_run(const uint8_t*, const char* at, const char* end) {
  const bool numeric = has(at, kNumeric);
  const char* stop = at;
  while (stop != end && has(stop, kNumeric) == numeric) stop = next_character(stop);
  return {at, stop};
}

Piece scan_punctuation(const uint8_t*, const char* at, const char* end) {
  return isolate(at, end, kPunctuated);
}

// \w+|[^\w\s]+, white space dropped
Piece scan_whitespace(const uint8_t* categories, const char* at, const char* end) {
  at = run(categories, at, end, kSpaces);
  if (at == end) return {at, at};
  const bool word = has(at, kWord);
  const char* stop = next_character(at);
  while (stop != end && has(stop, kWord) == word &&
         (look(categories, stop, end).bit & kSpaces) == 0) {
    stop = next_character(stop);
  }
  return {at, stop};
}

Piece scan_whitespace_split(const uint8_t* categories, const char* at, const char* end) {
  at = run(categories, at, end, kSpaces);
  return {at, run(categories, at, end, ~kSpaces)};
}

// White space dropped, each punctuation mark alone.
Piece scan_bert(const uint8_t* categories, const char* at, const char* end) {
  at = run(categories, at, end, kSpaces);
  if (at == end) return {at, at};
  return isolate(at, run(categories, at, end, ~kSpaces), kPunctuated);
}

// A space sign begins a piece; here it is a space.
Piece scan_metaspace(const uint8_t*, const char* at, const char* end) {
  const char* stop = at + 1;
  while (stop != end && *stop != ' ') ++stop;
  return {at, stop};
}

}  // namespace anydraft::detail
