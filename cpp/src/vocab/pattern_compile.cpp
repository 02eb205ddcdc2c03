#include <algorithm>

#include "anydraft/error.h"
#include "vocab/pattern.h"
#include "vocab/pattern_parse.h"
#include "vocab/unicode.h"

namespace anydraft::detail {
namespace {

constexpr size_t kMostSteps = 100'000;

class Compiler {
 public:
  explicit Compiler(std::string_view text) : text_(text) {}

  Pattern finish(const PatternNode& node) {
    emit(node, true);
    step(PatternOp::kMatch);
    if (nullable(node)) refuse("an empty match");
    return std::move(made_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorKind::kUnsupportedTokenizer,
                "[Vocabulary] expected a supported pattern of Split, got " + std::string(text_) +
                    " with " + what);
  }

  static bool nullable(const PatternNode& node) {
    const auto null = [](const auto& part) { return nullable(*part); };
    switch (node.kind) {
      case PatternNode::kSet:
        return false;
      case PatternNode::kSequence:
        return std::all_of(node.parts.begin(), node.parts.end(), null);
      case PatternNode::kChoice:
        return std::any_of(node.parts.begin(), node.parts.end(), null);
      case PatternNode::kRepeat:
        return node.least == 0 || nullable(*node.parts[0]);
      default:
        return true;
    }
  }

  // Whether this always goes on, whatever stands there, so that nothing before it is given back.
  static bool cannot_fail(const PatternNode& node) {
    return node.kind == PatternNode::kRepeat && node.least == 0;
  }

  size_t step(PatternOp op, uint32_t set = 0, uint32_t x = 0, uint32_t y = 0) {
    if (made_.steps.size() >= kMostSteps) refuse("too many repeats");
    made_.steps.push_back({static_cast<uint32_t>(op), set, x, y});
    return made_.steps.size() - 1;
  }

  uint32_t here() const { return static_cast<uint32_t>(made_.steps.size()); }

  // last: what follows cannot fail.
  void emit(const PatternNode& node, bool last) {
    switch (node.kind) {
      case PatternNode::kSet:
        step(PatternOp::kSet, set(node.set));
        return;
      case PatternNode::kSequence: {
        std::vector<bool> lasts(node.parts.size() + 1, last);
        for (size_t i = node.parts.size(); i-- > 0;) {
          lasts[i] = lasts[i + 1] && cannot_fail(*node.parts[i]);
        }
        for (size_t i = 0; i < node.parts.size(); ++i) emit(*node.parts[i], lasts[i + 1]);
        return;
      }
      case PatternNode::kChoice:
        return emit_choice(node, last);
      case PatternNode::kRepeat:
        return emit_repeat(node, last);
      case PatternNode::kAhead: {
        const size_t ahead = step(PatternOp::kAhead, node.negated, here() + 1);
        emit(*node.parts[0], true);
        step(PatternOp::kMatch);
        made_.steps[ahead].y = here();
        return;
      }
      case PatternNode::kLineEnd:
        step(PatternOp::kLineEnd);
        return;
      case PatternNode::kTextEnd:
        step(PatternOp::kTextEnd);
        return;
    }
  }

  void emit_choice(const PatternNode& node, bool last) {
    std::vector<size_t> jumps;
    for (size_t i = 0; i < node.parts.size(); ++i) {
      const bool more = i + 1 < node.parts.size();
      const size_t split = more ? step(PatternOp::kSplit, 0, here() + 1) : 0;
      emit(*node.parts[i], last);
      if (!more) break;
      jumps.push_back(step(PatternOp::kJump));
      made_.steps[split].y = here();
    }
    for (size_t jump : jumps) made_.steps[jump].x = here();
  }

  void emit_repeat(const PatternNode& node, bool last) {
    const PatternNode& part = *node.parts[0];
    if (part.kind == PatternNode::kSet && !node.lazy) {
      const bool keeps = node.possessive || last;
      step(keeps ? PatternOp::kRun : PatternOp::kRunBack, set(part.set), node.least, node.most);
      return;
    }
    if (node.possessive) refuse("a group that gives nothing back");
    if (nullable(part)) refuse("a repeat of what may be empty");
    for (uint32_t i = 0; i < node.least; ++i) emit(part, false);
    if (node.most == kEndless) {
      const size_t split = step(PatternOp::kSplit);
      emit(part, false);
      step(PatternOp::kJump, 0, static_cast<uint32_t>(split));
      branch(split, node.lazy);
      return;
    }
    std::vector<size_t> splits;
    for (uint32_t i = node.least; i < node.most; ++i) {
      splits.push_back(step(PatternOp::kSplit));
      emit(part, false);
    }
    for (size_t split : splits) branch(split, node.lazy);
  }

  // One way to what follows the split, the other to here; which is tried first.
  void branch(size_t split, bool lazy) {
    const uint32_t inside = static_cast<uint32_t>(split + 1);
    made_.steps[split].x = lazy ? here() : inside;
    made_.steps[split].y = lazy ? inside : here();
  }

  uint32_t set(const SetDescription& description) {
    CharacterSet set;
    set.categories = description.categories;
    set.properties = description.properties;
    set.negated = description.negated;
    set.ranges = static_cast<uint32_t>(made_.ranges.size());
    for (const auto& [first, last] : description.ranges) {
      if (last < 128) continue;
      made_.ranges.insert(made_.ranges.end(), {first, last});
      ++set.range_count;
    }
    for (uint32_t point = 0; point < 128; ++point) {
      bool inside = (category_bit(point) & set.categories) != 0 ||
                    (unicode().property[point] & set.properties) != 0;
      for (const auto& [first, last] : description.ranges) {
        inside |= point >= first && point <= last;
      }
      if (inside != description.negated) set.ascii[point / 64] |= uint64_t{1} << point % 64;
    }
    made_.sets.push_back(set);
    return static_cast<uint32_t>(made_.sets.size() - 1);
  }

  const std::string_view text_;
  Pattern made_;
};

}  // namespace

Pattern compile_pattern(std::string_view text, PatternDialect dialect) {
  return Compiler(text).finish(*parse_pattern(text, dialect));
}

Pattern literal_pattern(std::string_view text) {
  PatternNode node;
  for (const char *at = text.data(), *end = at + text.size(); at != end;) {
    const uint32_t point = decode(at);
    node.parts.push_back(std::make_unique<PatternNode>());
    node.parts.back()->kind = PatternNode::kSet;
    node.parts.back()->set.ranges = {{point, point}};
  }
  return Compiler(text).finish(node);
}

Pattern property_pattern(uint32_t properties) {
  PatternNode node;
  node.kind = PatternNode::kSet;
  node.set.properties = properties;
  return Compiler("").finish(node);
}

}  // namespace anydraft::detail
