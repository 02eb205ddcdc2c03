// Parts that the scanners share: runs of characters of some categories, contractions, white space.
#pragma once

#include "vocab/scan.h"
#include "vocab/unicode.h"

namespace anydraft::detail {

// The character at a place: its categories as one bit, and where the next begins.
struct Character {
  uint32_t bit = 0;  // 0: the end of the text
  const char* next = nullptr;
};

inline Character look(const uint8_t* categories, const char* at, const char* end) {
  if (at == end) return {0, at};
  const char* next = at;
  const uint32_t point = decode(next);
  return {1u << categories[point], next};
}

// End of the run of characters whose categories are in `set`.
inline const char* run(const uint8_t* categories, const char* at, const char* end, uint32_t set) {
  while (at != end) {
    const uint8_t lead = static_cast<uint8_t>(*at);
    if (lead < 0x80) {
      if ((1u << categories[lead] & set) == 0) return at;
      ++at;
    } else {
      const char* next = at;
      if ((1u << categories[decode(next)] & set) == 0) return at;
      at = next;
    }
  }
  return at;
}

// Likewise, at most `count` characters.
inline const char* run_of(const uint8_t* categories, const char* at, const char* end, uint32_t set,
                          int count) {
  for (; count > 0; --count) {
    const Character c = look(categories, at, end);
    if ((c.bit & set) == 0) return at;
    at = c.next;
  }
  return at;
}

inline const char* newlines(const char* at, const char* end) {
  while (at != end && (*at == '\n' || *at == '\r')) ++at;
  return at;
}

// End of 's, 't, 're, 've, 'm, 'll or 'd at an apostrophe; `at` where there is none. Where case is
// ignored, U+017F counts as an s.
template <bool kIgnoreCase>
inline const char* contraction(const char* at, const char* end) {
  if (at == end || *at != '\'' || end - at < 2) return at;
  const auto lower = [](char c) {
    return kIgnoreCase && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  const char first = lower(at[1]);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
  if (end - at < 3) return at;
  if (kIgnoreCase && at[1] == '\xC5' && at[2] == '\xBF') return at + 3;
  const char second = lower(at[2]);
  const bool two = (first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
                   (first == 'l' && second == 'l');
  return two ? at + 3 : at;
}

// White space at `at`: up to the last line end of its run where kLines says so, else all of it but
// the last character, which goes with what follows; all of it at the end of the text.
// kEndFirst: at the end of the text, all of it even after a line end.
template <bool kLines, bool kEndFirst = false>
inline const char* space_end(const uint8_t* categories, const char* at, const char* end) {
  const char *last = at, *line = nullptr, *stop = at;
  while (stop != end) {
    const Character c = look(categories, stop, end);
    if ((c.bit & kSpaces) == 0) break;
    if (kLines && (*stop == '\n' || *stop == '\r')) line = c.next;
    last = stop;
    stop = c.next;
  }
  if (kEndFirst && stop == end) return stop;
  if (line != nullptr) return line;
  return stop == end || last == at ? stop : last;
}

}  // namespace anydraft::detail
