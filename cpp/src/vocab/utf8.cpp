#include "vocab/utf8.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "anydraft/vocabulary.h"

namespace anydraft {
namespace {

// Length that a lead byte announces; 0: no lead byte.
size_t announced(uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead < 0xE0) return 2;
  if (lead >= 0xE0 && lead < 0xF0) return 3;
  if (lead >= 0xF0 && lead < 0xF5) return 4;
  return 0;
}

// The second byte excludes overlong forms, surrogates and code points above U+10FFFF (RFC 3629).
bool follows(uint8_t lead, size_t index, uint8_t byte) {
  uint8_t low = 0x80, high = 0xBF;
  if (index == 1) {
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  }
  return byte >= low && byte <= high;
}

// How many bytes from `at` fit the character that starts there.
size_t fitting(std::string_view text, size_t at, size_t length) {
  size_t count = 1;
  while (count < length && at + count < text.size() &&
         follows(text[at], count, static_cast<uint8_t>(text[at + count]))) {
    ++count;
  }
  return count;
}

}  // namespace

size_t detail::character_length(std::string_view text, size_t at) {
  const size_t length = announced(static_cast<uint8_t>(text[at]));
  return length > 0 && fitting(text, at, length) == length ? length : 0;
}

size_t detail::character_beginning(std::string_view text, size_t at) {
  const size_t length = announced(static_cast<uint8_t>(text[at]));
  return length > 0 ? fitting(text, at, length) : 0;
}

size_t detail::valid_until(std::string_view text, size_t at) {
  while (at < text.size()) {
    uint64_t word = 0;
    if (at + 8 <= text.size()) std::memcpy(&word, text.data() + at, 8);
    if (at + 8 <= text.size() && (word & 0x8080808080808080ull) == 0) {
      at += 8;
      continue;
    }
    const size_t length = character_length(text, at);
    if (length == 0) return at;
    at += length;
  }
  return at;
}

size_t complete_utf8(std::string_view bytes) {
  const size_t earliest = bytes.size() - std::min<size_t>(bytes.size(), 3);
  for (size_t at = bytes.size(); at > earliest; --at) {
    const size_t length = announced(static_cast<uint8_t>(bytes[at - 1]));
    if (length == 0) continue;
    const bool cut =
        at - 1 + length > bytes.size() && fitting(bytes, at - 1, length) == bytes.size() - (at - 1);
    return cut ? at - 1 : bytes.size();
  }
  return bytes.size();
}

}  // namespace anydraft
