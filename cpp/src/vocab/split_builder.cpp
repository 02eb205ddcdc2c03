#include "vocab/split_builder.h"

#include "anydraft/error.h"
#include "vocab/unicode.h"

namespace anydraft::detail {
namespace {

[[noreturn]] void unsupported(const std::string& what) {
  throw Error(ErrorKind::kUnsupportedTokenizer,
              "[Vocabulary] expected a supported pattern of Split, got " + what);
}

SplitBehavior behavior_of(const std::string& name) {
  static constexpr const char* kNames[] = {"Isolated", "Removed", "MergedWithPrevious",
                                           "MergedWithNext", "Contiguous"};
  for (uint32_t i = 0; i < static_cast<uint32_t>(SplitBehavior::kCount); ++i) {
    if (name == kNames[i]) return static_cast<SplitBehavior>(i);
  }
  unsupported("the behavior " + name);
}

}  // namespace

uint32_t SplitBuilder::pattern(const std::string& text, const std::string& behavior, bool inverted,
                               bool signs) {
  const Pattern pattern = compile_pattern(text, dialect_);
  const uint32_t rule = add(pattern, behavior, inverted);
  const auto* categories = unicode().category.data();
  for (size_t i = sets_.size() - pattern.sets.size(); signs && i < sets_.size(); ++i) {
    const bool space = in_set(builder_.tables, sets_[i], ' ', categories);
    if (space != in_set(builder_.tables, sets_[i], 0x2581, categories)) {
      unsupported(text + " after space signs");
    }
  }
  return rule;
}

uint32_t SplitBuilder::literal(const std::string& text, const std::string& behavior,
                               bool inverted) {
  if (text.empty()) unsupported("an empty text");
  return add(literal_pattern(text), behavior, inverted);
}

uint32_t SplitBuilder::properties(uint32_t properties, const std::string& behavior) {
  return add(property_pattern(properties), behavior, false);
}

uint32_t SplitBuilder::add(const Pattern& pattern, const std::string& behavior, bool inverted) {
  SplitRule rule;
  rule.behavior = static_cast<uint32_t>(behavior_of(behavior));
  rule.inverted = inverted;
  rule.start = static_cast<uint32_t>(steps_.size());
  const uint32_t set_base = static_cast<uint32_t>(sets_.size());
  const uint32_t range_base = static_cast<uint32_t>(ranges_.size());
  for (PatternStep step : pattern.steps) {
    const auto op = static_cast<PatternOp>(step.op);
    if (op == PatternOp::kSet || op == PatternOp::kRun || op == PatternOp::kRunBack) {
      step.set += set_base;
    } else if (op == PatternOp::kSplit || op == PatternOp::kJump || op == PatternOp::kAhead) {
      step.x += rule.start;
      step.y += rule.start;
    }
    steps_.push_back(step);
  }
  for (CharacterSet set : pattern.sets) {
    set.ranges += range_base;
    sets_.push_back(set);
  }
  ranges_.insert(ranges_.end(), pattern.ranges.begin(), pattern.ranges.end());
  find_first(rule);
  rules_.push_back(rule);
  keep();
  return static_cast<uint32_t>(rules_.size() - 1);
}

// With which characters a match may begin: of all ways to the first set.
void SplitBuilder::find_first(SplitRule& rule) const {
  std::vector<uint32_t> pending{rule.start};
  std::vector<bool> seen(steps_.size());
  while (!pending.empty()) {
    const uint32_t at = pending.back();
    pending.pop_back();
    if (seen[at]) continue;
    seen[at] = true;
    const PatternStep& step = steps_[at];
    const auto op = static_cast<PatternOp>(step.op);
    if (op == PatternOp::kSplit || op == PatternOp::kJump) pending.push_back(step.x);
    if (op == PatternOp::kSplit || op == PatternOp::kAhead) pending.push_back(step.y);
    if (op == PatternOp::kLineEnd || op == PatternOp::kTextEnd) pending.push_back(at + 1);
    if (op != PatternOp::kSet && op != PatternOp::kRun && op != PatternOp::kRunBack) continue;
    if (op != PatternOp::kSet && step.x == 0) pending.push_back(at + 1);
    const CharacterSet& set = sets_[step.set];
    rule.first[0] |= set.ascii[0];
    rule.first[1] |= set.ascii[1];
    rule.first_beyond |= set.negated || set.categories || set.properties || set.range_count;
  }
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const uint32_t point = stand_in(static_cast<uint8_t>(byte));
    const bool begins =
        point < 128 ? (rule.first[point / 64] >> (point % 64) & 1) != 0 : rule.first_beyond != 0;
    if (begins) rule.first_byte[byte / 64] |= uint64_t{1} << byte % 64;
  }
}

// Normalisers run while the tables are made, on what there is so far.
void SplitBuilder::keep() {
  Tables& t = builder_.tables;
  t.split_rules = {rules_.data(), rules_.size()};
  t.pattern_steps = {steps_.data(), steps_.size()};
  t.pattern_sets = {sets_.data(), sets_.size()};
  t.pattern_ranges = {ranges_.data(), ranges_.size()};
}

void SplitBuilder::finish() {
  Tables& t = builder_.tables;
  builder_.keep(t.split_rules, std::move(rules_));
  builder_.keep(t.pattern_steps, std::move(steps_));
  builder_.keep(t.pattern_sets, std::move(sets_));
  builder_.keep(t.pattern_ranges, std::move(ranges_));
}

}  // namespace anydraft::detail
