// Split rules with their patterns, as tables.
#pragma once

#include <string>
#include <vector>

#include "vocab/split.h"
#include "vocab/table_builder.h"

namespace anydraft::detail {

class SplitBuilder {
 public:
  SplitBuilder(TableBuilder& builder, bool tiktoken)
      : builder_(builder),
        dialect_(tiktoken ? PatternDialect::kTiktoken : PatternDialect::kOniguruma) {}

  // Each returns the rule's place. behavior: as tokenizer.json names it. signs: the texts have
  // spaces where the owner has signs, which the pattern must treat alike.
  uint32_t pattern(const std::string& text, const std::string& behavior, bool inverted, bool signs);
  uint32_t literal(const std::string& text, const std::string& behavior, bool inverted);
  uint32_t properties(uint32_t properties, const std::string& behavior);
  // The tables are complete from here on.
  void finish();

 private:
  uint32_t add(const Pattern& pattern, const std::string& behavior, bool inverted);
  void find_first(SplitRule& rule) const;
  void keep();

  TableBuilder& builder_;
  const PatternDialect dialect_;
  std::vector<SplitRule> rules_;
  std::vector<PatternStep> steps_;
  std::vector<CharacterSet> sets_;
  std::vector<uint32_t> ranges_;
};

}  // namespace anydraft::detail
