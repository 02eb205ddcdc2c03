// SentencePiece's normalisation: a double-array trie of what is replaced, as its files carry it.
#include <algorithm>
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
    if (size > blob.size - 4) return;  // cut off: check_tables() says so
    units_ = blob.data + 4;
    count_ = size / 4;
    texts_ = reinterpret_cast<const char*>(blob.data) + 4 + size;
    texts_size_ = blob.size - 4 - size;
  }

  // The longest entry at `at`: its length, and what stands in its place. 0: none, or a broken
  // entry, whose replacement or end is no whole character.
  size_t longest(const char* at, const char* end, std::string_view& replacement) const {
    size_t length = 0;
    bool broken = false;
    run_verifier(at, end, [&](const char* stop, size_t node, bool ends) {
      if (!ends) return true;
      const uint32_t text = unit(node) & 0x7FFFFFFF;
      broken = text >= texts_size_ || inside_character(stop, end);
      if (broken) return false;
      replacement = {texts_ + text, strnlen(texts_ + text, texts_size_ - text)};
      broken = valid_until(replacement, 0) != replacement.size();
      length = stop - at;
      return !broken;
    });
    return broken ? 0 : length;
  }

  // The shortest entry at `at`; false: none, or one whose replacement is no text.
  bool shortest(const char* at, const char* end, std::string_view& replacement) const {
    bool found = false;
    run_verifier(at, end, [&](const char*, size_t node, bool ends) {
      if (!ends) return true;
      const uint32_t text = unit(node) & 0x7FFFFFFF;
      if (text < texts_size_) {
        replacement = {texts_ + text, strnlen(texts_ + text, texts_size_ - text)};
        found = valid_until(replacement, 0) == replacement.size();
      }
      return false;
    });
    return found;
  }

  // Whether an entry begins with this text, or is it.
  bool has_path(const char* at, const char* end) const {
    const char* reached = at;
    run_verifier(at, end, [&](const char* stop, size_t, bool) {
      reached = stop;
      return true;
    });
    return reached == end;
  }

 private:
  // Descends along the text as long as f(end of the step, node, whether an entry ends) is true.
  template <typename F>
  void run_verifier(const char* at, const char* end, F&& f) const {
    if (count_ == 0) return;
    size_t node = offset(unit(0));
    for (; at != end; ++at) {
      const uint8_t label = static_cast<uint8_t>(*at);
      node ^= label;
      if (label == 0 || node >= count_) return;
      const uint32_t found = unit(node);
      if ((found & 0x800000FF) != label) return;
      node ^= offset(found);
      if (node >= count_ || !f(at + 1, node, (found >> 8 & 1) != 0)) return;
    }
  }
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

namespace {

// Where no entry begins with this character and another of ASCII, and the character alone becomes
// one of ASCII, or stays.
char ascii_form(const Charsmap& charsmap, char sign) {
  std::string_view form;
  for (int next = 1; next < 128; ++next) {
    const char both[] = {sign, static_cast<char>(next)};
    if (charsmap.has_path(both, both + 2)) return 0;
  }
  if (charsmap.longest(&sign, &sign + 1, form) == 0) return sign;
  return form.size() == 1 && form[0] > 0 ? form[0] : 0;
}

// As far as one ASCII character follows another. `after_space`: spaces are dropped.
const char* copy_ascii(const Array<char>& forms, bool trim, const char* at, const char* end,
                       bool& after_space, std::string& to) {
  constexpr ptrdiff_t kRoom = 128;  // at a time
  bool plain = !forms.empty();
  const auto form_at = [&] {
    plain = at + 1 < end && static_cast<int8_t>(at[0] | at[1]) >= 0;
    const char form = plain ? forms[static_cast<uint8_t>(*at)] : 0;
    plain = form != 0;
    return form;
  };
  for (char form; plain && (form = form_at(), plain);) {
    const size_t before = to.size();
    to.resize(before + kRoom);
    char *out = &to[before], *stop = out + kRoom;
    for (; plain && out != stop; form = form_at()) {
      *out = form;
      out += !(after_space && form == ' ');
      after_space = trim && form == ' ';
      ++at;
    }
    to.resize(out - to.data());
  }
  return at;
}

// The sign typed as such means a space to the model.
void signs_to_spaces(std::string& text) {
  constexpr std::string_view kSign = "\xE2\x96\x81";
  size_t sign = text.find(kSign), out = sign;
  if (sign == std::string::npos) return;
  while (sign != std::string::npos) {
    text[out++] = ' ';
    const size_t from = sign + kSign.size();
    sign = text.find(kSign, from);
    const size_t count = std::min(sign, text.size()) - from;
    std::memmove(&text[out], &text[from], count);
    out += count;
  }
  text.resize(out);
}

}  // namespace

std::vector<char> ascii_forms(const Array<uint8_t>& blob) {
  const Charsmap charsmap(blob);
  std::vector<char> forms(128);
  for (int sign = 0; sign < 128; ++sign) {
    forms[sign] = ascii_form(charsmap, static_cast<char>(sign));
  }
  return forms;
}

void precompiled_normalize(const Tables& t, std::string_view text, std::string& to) {
  const Charsmap charsmap(t.charsmap);
  const bool plain = !t.ascii_forms.empty();
  to.clear();
  std::string_view form;
  for (const char *at = text.data(), *end = at + text.size(); at != end;) {
    if (plain && at + 1 < end && static_cast<int8_t>(at[0] | at[1]) >= 0 && *at != '\r') {
      if (const char same = t.ascii_forms[static_cast<uint8_t>(*at)]) {
        to.push_back(same);
        ++at;
        continue;
      }
    }
    const char* stop = cluster_end(at, end);
    if (stop - at < 6 && charsmap.shortest(at, stop, form)) {
      to.append(form);
      at = stop;
      continue;
    }
    while (at != stop) {
      const char* next = next_character(at);
      to.append(charsmap.shortest(at, next, form) ? form : std::string_view(at, next - at));
      at = next;
    }
  }
}

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
  const auto put = [&](std::string_view form) {
    while (after_space && !form.empty() && form[0] == ' ') form.remove_prefix(1);
    if (form.empty()) return;
    after_space = trim && form.back() == ' ';
    to.append(form);
  };
  while (at != end) {
    at = copy_ascii(t.ascii_forms, trim, at, end, after_space, to);
    if (at != end) put(next());
  }
  signs_to_spaces(to);
  while (trim && !to.empty() && to.back() == ' ') to.pop_back();
}

}  // namespace anydraft::detail
