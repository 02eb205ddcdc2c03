// SentencePiece's normalisation: a double-array trie of what is replaced, as its files carry it.
#include <cstring>

#include "vocab/normalize.h"
#include "vocab/unicode.h"
#include "vocab/utf8.h"

namespace anydraft::detail {
namespace {

// uint32 size of the trie in bytes, its units, then the replacements, each ended by a zero.
class Charsmap {
 public:
  explicit Charsmap(const Array<uint8_t>& blob) {
    if (blob.size < 4) return;
    uint32_t size;
    std::memcpy(&size, blob.data, 4);
    units_ = blob.data + 4;
    count_ = size / 4;
    texts_ = reinterpret_cast<const char*>(blob.data) + 4 + size;
    texts_size_ = blob.size - 4 - size;
  }

  // The longest entry at `at`: its length, and what stands in its place. 0: none, or a broken
  // entry, whose replacement or end is no whole character.
  size_t longest(const char* at, const char* end, std::string_view& replacement) const {
    if (count_ == 0) return 0;
    size_t length = 0, node = offset(unit(0));
    for (const char* here = at; here != end; ++here) {
      const uint8_t label = static_cast<uint8_t>(*here);
      node ^= label;
      if (label == 0 || node >= count_) break;
      const uint32_t found = unit(node);
      if ((found & 0x800000FF) != label) break;
      node ^= offset(found);
      if (node >= count_) break;
      if (found >> 8 & 1) {
        const uint32_t text = unit(node) & 0x7FFFFFFF;
        if (text >= texts_size_ || inside_character(here + 1, end)) return 0;
        replacement = {texts_ + text, strnlen(texts_ + text, texts_size_ - text)};
        if (valid_until(replacement, 0) != replacement.size()) return 0;
        length = here + 1 - at;
      }
    }
    return length;
  }

 private:
  uint32_t unit(size_t index) const {
    uint32_t word;
    std::memcpy(&word, units_ + 4 * index, 4);
    return word;
  }
  static bool inside_character(const char* at, const char* end) {
    return at != end && (static_cast<uint8_t>(*at) & 0xC0) == 0x80;
  }
  static size_t offset(uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); }

  const uint8_t* units_ = nullptr;
  size_t count_ = 0;
  const char* texts_ = nullptr;
  size_t texts_size_ = 0;
};

}  // namespace

void sentence_piece_normalize(const Tables& t, uint32_t flags, std::string_view text,
                              std::string& to) {
  const Charsmap charsmap(t.charsmap);
  const bool trim = flags & 2;
  const char *at = text.data(), *end = at + text.size();
  const auto next = [&] {
    std::string_view form;
    size_t length = charsmap.longest(at, end, form);
    if (length == 0) {
      length = next_character(at) - at;
      form = {at, length};
    }
    at += length;
    return form;
  };
  to.clear();
  for (const char* before = at; trim && at != end; before = at) {
    if (next() != " ") {
      at = before;
      break;
    }
  }
  if (at == end) return;
  if (flags & 1) to.push_back(' ');
  bool after_space = trim;
  while (at != end) {
    std::string_view form = next();
    while (after_space && !form.empty() && form[0] == ' ') form.remove_prefix(1);
    if (form.empty()) continue;
    after_space = trim && form.back() == ' ';
    to.append(form);
  }
  // The sign typed as such means a space to the model.
  for (size_t sign = to.find("\xE2\x96\x81"); sign != std::string::npos;
       sign = to.find("\xE2\x96\x81", sign)) {
    to.replace(sign, 3, " ");
  }
  while (trim && !to.empty() && to.back() == ' ') to.pop_back();
}

}  // namespace anydraft::detail
