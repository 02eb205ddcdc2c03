// The patterns of GPT-2 and of those that followed it (cl100k, Llama 3, Qwen).
#include "vocab/scan_parts.h"

namespace anydraft::detail {
namespace {

constexpr uint32_t kOther = ~(kSpaces | kLetters | kNumbers);

// [^\r\n\p{L}\p{N}]?\p{L}+ | \p{N}{1,kDigits} | ?[^\s\p{L}\p{N}]+[\r\n]* | white space, behind
// contractions of any case.
template <int kDigits, bool kEndFirst>
Piece scan_cl(const uint8_t* categories, const char* at, const char* end) {
  const Character first = look(categories, at, end);
  if (first.bit & kLetters) return {at, run(categories, first.next, end, kLetters)};
  if (first.bit & kNumbers) return {at, run_of(categories, first.next, end, kNumbers, kDigits - 1)};
  if (*at == '\'') {
    const char* stop = contraction<true>(at, end);
    if (stop != at) return {at, stop};
  }
  const Character second = look(categories, first.next, end);
  if ((second.bit & kLetters) && *at != '\n' && *at != '\r') {
    return {at, run(categories, second.next, end, kLetters)};
  }
  if (first.bit & kOther) {
    return {at, newlines(run(categories, first.next, end, kOther), end)};
  }
  if (*at == ' ' && (second.bit & kOther)) {
    return {at, newlines(run(categories, second.next, end, kOther), end)};
  }
  return {at, space_end<true, kEndFirst>(categories, at, end)};
}

}  // namespace

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
Piece scan_gpt2(const uint8_t* categories, const char* at, const char* end) {
  if (*at == '\'') {
    const char* stop = contraction<false>(at, end);
    if (stop != at) return {at, stop};
  }
  const char* start = *at == ' ' ? at + 1 : at;
  const Character c = look(categories, start, end);
  for (uint32_t set : {kLetters, kNumbers, kOther}) {
    if (c.bit & set) return {at, run(categories, c.next, end, set)};
  }
  return {at, space_end<false>(categories, at, end)};
}

Piece scan_cl100k(const uint8_t* categories, const char* at, const char* end) {
  return scan_cl<3, false>(categories, at, end);
}

Piece scan_cl100k_tiktoken(const uint8_t* categories, const char* at, const char* end) {
  return scan_cl<3, true>(categories, at, end);
}

Piece scan_qwen(const uint8_t* categories, const char* at, const char* end) {
  return scan_cl<1, false>(categories, at, end);
}

}  // namespace anydraft::detail
