// Pre-tokenisers made of a pattern and of what becomes of its matches.
#pragma once

#include <cstdint>
#include <string_view>

#include "vocab/pattern.h"
#include "vocab/scan.h"

namespace anydraft::detail {

// What becomes of the matches, as tokenizer.json names it.
enum class SplitBehavior : uint32_t {
  kIsolated,
  kRemoved,
  kMergedWithPrevious,
  kMergedWithNext,
  kContiguous,
  kCount,
};

// The pieces of a text, from left to right. What a piece is hangs on the text behind its beginning
// alone, and no further than what was seen.
class Splitter {
 public:
  Splitter(const Tables& tables, const SplitRule& rule, const uint8_t* categories,
           std::string_view text)
      : t_(tables),
        rule_(rule),
        categories_(categories),
        at_(text.data()),
        end_(at_ + text.size()) {}

  // False: none is left. seen: what this piece and those before it hang on.
  bool next(Piece& piece, Seen& seen);

 private:
  struct Span {
    const char *begin, *end;
    bool matches;  // or lies between matches
  };
  Span span_at(const char* at);
  bool may_match(const char* at) const;

  const Tables& t_;
  const SplitRule& rule_;
  const uint8_t* categories_;
  const char *at_, *const end_;
  const char *found_ = nullptr, *found_end_ = nullptr;  // the match behind the last gap
  Seen seen_;
};

// The text with every match of a pattern replaced; false: there is none.
bool replace_matches(const Tables& tables, const SplitRule& rule, std::string_view text,
                     std::string_view with, std::string& to);

}  // namespace anydraft::detail
