#include "vocab/scan.h"

#include "vocab/scan_parts.h"

namespace anydraft::detail {
namespace {

struct Known {
  std::string_view pattern;
  ScanKind kind;
};

// As the owners write them; one rule may be written in several ways.
constexpr Known kKnown[] = {
    {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
     ScanKind::kGpt2},
    {R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", ScanKind::kGpt2},
    {R"('(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s)",
     ScanKind::kGpt2},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     ScanKind::kCl100k},
    {R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)",
     ScanKind::kCl100k},
    {R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s)",
     ScanKind::kCl100kTiktoken},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     ScanKind::kQwen},
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     ScanKind::kO200k},
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     ScanKind::kTekken},
    {R"(\p{N}{1,3})", ScanKind::kDigits3},
    {R"([一-龥぀-ゟ゠-ヿ]+)", ScanKind::kCjk},
    {"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?"
     "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
     ScanKind::kDeepseekWords},
};

constexpr Scanner kScanners[] = {
    nullptr,          scan_gpt2,           scan_cl100k,           scan_cl100k_tiktoken,
    scan_qwen,        scan_o200k,          scan_tekken,           scan_digits3,
    scan_cjk,         scan_deepseek_words, scan_digits_each,      scan_digits_run,
    scan_punctuation, scan_whitespace,     scan_whitespace_split, scan_bert,
    scan_metaspace,
};
static_assert(sizeof(kScanners) / sizeof(Scanner) == static_cast<size_t>(ScanKind::kCount));

}  // namespace

Scanner scanner(ScanKind kind) { return kScanners[static_cast<size_t>(kind)]; }

ScanKind scanner_of_pattern(std::string_view pattern) {
  for (const Known& known : kKnown) {
    if (known.pattern == pattern) return known.kind;
  }
  return ScanKind::kNone;
}

const char* stable_limit(const uint8_t* categories, const char* begin, const char* end) {
  for (int i = 0; i < 3 && end != begin; ++i) end = previous_character(end);
  if (end == begin) return begin;
  const auto bit = [&](const char* at) { return look(categories, at, at + 4).bit; };
  constexpr uint32_t kWords = kLetters | kMarks;
  const char* last = previous_character(end);
  const uint32_t set = bit(last) & kSpaces ? kSpaces : bit(last) & kWords ? kWords : 0;
  while (last != begin && (bit(previous_character(last)) & set)) last = previous_character(last);
  return set != 0 ? last : end;
}

}  // namespace anydraft::detail
