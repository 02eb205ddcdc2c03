#include "vocab/unicode.h"

#include <array>
#include <iterator>

#include "vocab/unicode_data.h"

namespace anydraft::detail {
namespace {

template <size_t kSize>
void mark(std::vector<uint8_t>& property, const uint32_t (&ends)[kSize], uint8_t bit) {
  for (size_t i = 0; i < kSize; i += 2) {
    const uint32_t end = i + 1 < kSize ? ends[i + 1] : 0x110000;
    for (uint32_t point = ends[i]; point < end; ++point) property[point] |= bit;
  }
}

UnicodeTables make() {
  const std::vector<uint8_t> none(0x110000);
  UnicodeTables tables{none, none, none};
  constexpr size_t runs = std::size(kCategoryRuns);
  for (size_t i = 0; i < runs; ++i) {
    const uint32_t end = i + 1 < runs ? kCategoryRuns[i + 1] >> 5 : 0x110000;
    for (uint32_t point = kCategoryRuns[i] >> 5; point < end; ++point) {
      tables.category[point] = kCategoryRuns[i] & 31;
    }
  }
  for (uint32_t point : {0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x85}) tables.category[point] = kCcSpace;
  mark(tables.property, kNumericRuns, kNumeric);
  mark(tables.property, kPunctuationRuns, kPunctuated);
  mark(tables.property, kWordRuns, kWord);
  mark(tables.property, kAccentRuns, kAccent);
  mark(tables.property, kBertAccentRuns, kBertAccent);
  mark(tables.property, kBertRemovedRuns, kBertRemoved);
  mark(tables.property, kBertSpaceRuns, kBertSpace);
  mark(tables.property, kBertCjkRuns, kBertCjk);
  mark(tables.cluster, kClusterExtendRuns, kClusterExtends);
  mark(tables.cluster, kClusterPrependRuns, kClusterPrepends);
  mark(tables.cluster, kClusterAloneRuns, kClusterAlone);
  return tables;
}

}  // namespace

const UnicodeTables& unicode() {
  static const UnicodeTables tables = make();
  return tables;
}

uint32_t stand_in(uint8_t byte) {
  static const std::array<uint32_t, 256> points = [] {
    std::array<uint32_t, 256> made{};
    uint32_t next = 0x100;
    for (uint32_t i = 0; i < 256; ++i) {
      const bool plain = (i >= 0x21 && i <= 0x7E) || (i >= 0xA1 && i <= 0xAC) || i >= 0xAE;
      made[i] = plain ? i : next++;
    }
    return made;
  }();
  return points[byte];
}

const char* cluster_end(const char* at, const char* end) {
  const auto& cluster = unicode().cluster;
  const auto alone = [&](uint32_t point) { return (cluster[point] & kClusterAlone) != 0; };
  const char* next = at;
  uint32_t point = decode(next);
  if (point == '\r') return next + (next != end && *next == '\n');
  if (alone(point)) return next;
  while (next != end) {
    const char* behind = next;
    const uint32_t following = decode(behind);
    const bool joined = (cluster[following] & kClusterExtends) ||
                        ((cluster[point] & kClusterPrepends) && !alone(following));
    if (!joined) break;
    point = following;
    next = behind;
  }
  return next;
}

void append_utf8(std::string& to, uint32_t point) {
  const auto put = [&](uint32_t byte) { to.push_back(static_cast<char>(byte)); };
  if (point < 0x80) {
    put(point);
  } else if (point < 0x800) {
    put(0xC0 | point >> 6), put(0x80 | (point & 0x3F));
  } else if (point < 0x10000) {
    put(0xE0 | point >> 12), put(0x80 | (point >> 6 & 0x3F)), put(0x80 | (point & 0x3F));
  } else {
    put(0xF0 | point >> 18), put(0x80 | (point >> 12 & 0x3F));
    put(0x80 | (point >> 6 & 0x3F)), put(0x80 | (point & 0x3F));
  }
}

}  // namespace anydraft::detail
