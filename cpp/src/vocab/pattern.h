// Regular expressions of pre-tokenisers and normalisers: compiled once to flat steps, matched by
// backtracking. What none of the hand-written scanners knows runs through these.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "vocab/tables.h"

namespace anydraft::detail {

enum class PatternOp : uint32_t {
  kMatch,    // the end: a match
  kSet,      // one character of `set`
  kRun,      // `x` to `y` characters of `set`, as many as there are; gives none back
  kRunBack,  // likewise, gives them back one by one
  kSplit,    // goes on at `x`, else at `y`
  kJump,     // goes on at `x`
  kAhead,    // what follows matches the steps from `x` on (set 1: does not); then on at `y`
  kLineEnd,  // before a line feed, or at the end of the text
  kTextEnd,  // at the end of the text
  kCount,
};

// The dialects differ in what `$` is.
enum class PatternDialect { kOniguruma, kTiktoken };

struct Pattern {
  std::vector<PatternStep> steps;
  std::vector<CharacterSet> sets;
  std::vector<uint32_t> ranges;  // first and last points of CharacterSet::ranges
};

// Throws Error(kUnsupportedTokenizer) that names what the pattern has beyond this: back references,
// look-behind, boundaries, scripts, and patterns that match nothing at all.
Pattern compile_pattern(std::string_view text, PatternDialect dialect);
// One that matches exactly this text.
Pattern literal_pattern(std::string_view text);
// One that matches any character with these Property bits.
Pattern property_pattern(uint32_t properties);

// Where a match looked, so that its caller knows which text it hangs on.
struct Seen {
  const char* furthest = nullptr;  // end of the last character that was looked at
  bool end = false;                // the end of the text was looked at
};

// The end of the match that begins at `at`; nullptr: none. Throws Error(kUnsupportedTokenizer) for
// a pattern that takes more than some 10^7 steps.
const char* match_pattern(const Tables& tables, const uint8_t* categories, uint32_t first_step,
                          const char* at, const char* end, Seen& seen);

bool in_set(const Tables& tables, const CharacterSet& set, uint32_t point,
            const uint8_t* categories);

}  // namespace anydraft::detail
