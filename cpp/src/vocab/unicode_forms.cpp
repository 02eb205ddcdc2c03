// Decomposition, canonical order, composition: UAX 15, with the tables of the owners' library.
#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <vector>

#include "vocab/normalize.h"
#include "vocab/unicode.h"
#include "vocab/unicode_data.h"

namespace anydraft::detail {
namespace {

constexpr uint32_t kSBase = 0xAC00, kLBase = 0x1100, kVBase = 0x1161, kTBase = 0x11A7;
constexpr uint32_t kLCount = 19, kVCount = 21, kTCount = 28, kSCount = kLCount * kVCount * kTCount;

struct Forms {
  std::unordered_map<uint32_t, const uint32_t*> canonical, compatible;  // to {count, points …}
  std::unordered_map<uint64_t, uint32_t> composed;
  std::vector<uint8_t> combining;  // [0x110000] class
  // Which forms a point may not be part of unchanged, whatever stands before it: bit 1 << form.
  std::vector<uint8_t> unsafe;  // [0x110000]
};

template <size_t kSize>
void read(const uint32_t (&flat)[kSize], std::unordered_map<uint32_t, const uint32_t*>& to) {
  for (size_t i = 0; i < kSize; i += 2 + flat[i + 1]) to[flat[i]] = flat + i + 1;
}

constexpr uint8_t bit(Form form) { return 1 << static_cast<int>(form); }
constexpr uint8_t kEvery = bit(Form::kC) | bit(Form::kD) | bit(Form::kKc) | bit(Form::kKd);

Forms make() {
  Forms forms;
  read(kCanonicalDecompositions, forms.canonical);
  read(kCompatibilityDecompositions, forms.compatible);
  forms.combining.resize(0x110000);
  forms.unsafe.resize(0x110000);
  constexpr size_t runs = std::size(kCombiningRuns);
  for (size_t i = 0; i < runs; i += 2) {
    const uint32_t end = i + 2 < runs ? kCombiningRuns[i + 2] : 0x110000;
    for (uint32_t point = kCombiningRuns[i]; point < end; ++point) {
      forms.combining[point] = static_cast<uint8_t>(kCombiningRuns[i + 1]);
      if (kCombiningRuns[i + 1] != 0) forms.unsafe[point] = kEvery;
    }
  }
  for (const auto& entry : forms.canonical) forms.unsafe[entry.first] |= kEvery;
  for (const auto& entry : forms.compatible) {
    forms.unsafe[entry.first] |= bit(Form::kKc) | bit(Form::kKd);
  }
  for (size_t i = 0; i < std::size(kCompositions); i += 3) {
    const uint32_t second = kCompositions[i + 1], whole = kCompositions[i + 2];
    forms.composed[static_cast<uint64_t>(kCompositions[i]) << 32 | second] = whole;
    forms.unsafe[whole] &= ~bit(Form::kC);  // composed again from its own parts
    if (forms.compatible.count(whole) == 0) forms.unsafe[whole] &= ~bit(Form::kKc);
  }
  for (size_t i = 0; i < std::size(kCompositions); i += 3) {
    forms.unsafe[kCompositions[i + 1]] |= bit(Form::kC) | bit(Form::kKc);
  }
  for (uint32_t i = 0; i < kSCount; ++i) {
    forms.unsafe[kSBase + i] |= bit(Form::kD) | bit(Form::kKd);
  }
  for (uint32_t i = 0; i < kVCount; ++i) forms.unsafe[kVBase + i] |= bit(Form::kC) | bit(Form::kKc);
  for (uint32_t i = 1; i < kTCount; ++i) forms.unsafe[kTBase + i] |= bit(Form::kC) | bit(Form::kKc);
  return forms;
}

const Forms& forms() {
  static const Forms made = make();
  return made;
}

void decompose(const Forms& f, Form form, uint32_t point, std::vector<uint32_t>& to) {
  if (point >= kSBase && point < kSBase + kSCount) {
    const uint32_t index = point - kSBase;
    to.push_back(kLBase + index / (kVCount * kTCount));
    to.push_back(kVBase + index / kTCount % kVCount);
    if (index % kTCount != 0) to.push_back(kTBase + index % kTCount);
    return;
  }
  const bool compatible = form == Form::kKc || form == Form::kKd;
  auto found = compatible ? f.compatible.find(point) : f.compatible.end();
  if (found == f.compatible.end()) {
    found = f.canonical.find(point);
    if (found == f.canonical.end()) return to.push_back(point);
  }
  to.insert(to.end(), found->second + 1, found->second + 1 + found->second[0]);
}

// Marks behind a starter in the order of their classes.
void reorder(const Forms& f, std::vector<uint32_t>& points) {
  const auto of = [&](uint32_t point) { return f.combining[point]; };
  for (size_t begin = 0; begin < points.size();) {
    size_t end = begin;
    while (end < points.size() && of(points[end]) != 0) ++end;
    std::stable_sort(points.begin() + begin, points.begin() + end,
                     [&](uint32_t a, uint32_t b) { return of(a) < of(b); });
    begin = end + 1;
  }
}

// 0: the two do not compose.
uint32_t compose_two(const Forms& f, uint32_t first, uint32_t second) {
  if (first >= kLBase && first < kLBase + kLCount && second >= kVBase &&
      second < kVBase + kVCount) {
    return kSBase + ((first - kLBase) * kVCount + (second - kVBase)) * kTCount;
  }
  if (first >= kSBase && first < kSBase + kSCount && (first - kSBase) % kTCount == 0 &&
      second > kTBase && second < kTBase + kTCount) {
    return first + (second - kTBase);
  }
  const auto found = f.composed.find(static_cast<uint64_t>(first) << 32 | second);
  return found == f.composed.end() ? 0 : found->second;
}

void compose(const Forms& f, std::vector<uint32_t>& points) {
  size_t out = 0, starter = points.size();
  uint8_t last = 0;  // class of the last point kept behind the starter
  for (size_t i = 0; i < points.size(); ++i) {
    const uint32_t point = points[i];
    const uint8_t now = f.combining[point];
    if (starter < out && (out == starter + 1 || last < now)) {
      if (const uint32_t whole = compose_two(f, points[starter], point)) {
        points[starter] = whole;
        continue;
      }
    }
    if (now == 0) starter = out;
    last = now;
    points[out++] = point;
  }
  points.resize(out);
}

}  // namespace

bool unicode_normalize(Form form, std::string_view text, std::string& to) {
  const Forms& f = forms();
  const char *at = text.data(), *end = at + text.size(), *copied = at, *safe = at;
  std::vector<uint32_t> points;
  bool changed = false;
  to.clear();
  while (at != end) {
    const char* here = at;
    if (static_cast<uint8_t>(*at) < 0x80) {
      safe = at++;
      continue;
    }
    if ((f.unsafe[decode(at)] & bit(form)) == 0) {
      safe = here;
      continue;
    }
    // From the last safe character to the next: what lies between is made anew.
    to.append(copied, safe - copied);
    points.clear();
    for (const char* from = safe; from != at;) decompose(f, form, decode(from), points);
    while (at != end) {
      const char* next = at;
      const uint32_t point = decode(next);
      if ((f.unsafe[point] & bit(form)) == 0) break;
      decompose(f, form, point, points);
      at = next;
    }
    reorder(f, points);
    if (form == Form::kC || form == Form::kKc) compose(f, points);
    for (uint32_t point : points) append_utf8(to, point);
    copied = safe = at;
    changed = true;
  }
  if (changed) to.append(copied, end - copied);
  return changed;
}

}  // namespace anydraft::detail
