// A regular expression as a tree.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vocab/pattern.h"

namespace anydraft::detail {

// Characters before they become a CharacterSet.
struct SetDescription {
  uint32_t categories = 0, properties = 0;
  std::vector<std::pair<uint32_t, uint32_t>> ranges;
  bool negated = false;
};

struct PatternNode {
  enum Kind { kSet, kSequence, kChoice, kRepeat, kAhead, kLineEnd, kTextEnd };
  Kind kind = kSequence;
  SetDescription set;                               // kSet
  std::vector<std::unique_ptr<PatternNode>> parts;  // of kRepeat and kAhead: one
  uint32_t least = 0, most = 0;                     // kRepeat; most kEndless
  bool lazy = false, possessive = false;            // kRepeat
  bool negated = false;                             // kAhead
};

constexpr uint32_t kEndless = 0xFFFFFFFF;

// Throws as compile_pattern.
std::unique_ptr<PatternNode> parse_pattern(std::string_view text, PatternDialect dialect);

}  // namespace anydraft::detail
