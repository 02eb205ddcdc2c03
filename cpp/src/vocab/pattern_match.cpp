#include <algorithm>
#include <vector>

#include "anydraft/error.h"
#include "vocab/pattern.h"
#include "vocab/unicode.h"

namespace anydraft::detail {
namespace {

constexpr uint64_t kMostSteps = 10'000'000;
constexpr uint32_t kDeepest = 256;  // look-aheads in look-aheads

// A place to go back to: the steps from `step` on, with what `low` .. `at` holds of a run to give
// back (low == nullptr: nothing).
struct Choice {
  uint32_t step;
  const char *low, *at;
};

class Matcher {
 public:
  Matcher(const Tables& t, const uint8_t* categories, const char* end, Seen& seen,
          std::vector<Choice>& choices)
      : t_(t), categories_(categories), end_(end), seen_(seen), choices_(choices) {}

  const char* run(uint32_t step, const char* at) {
    std::vector<Choice>& choices = choices_;
    if (++depth_ > kDeepest) give_up();
    const size_t bottom = choices.size();
    for (bool alive = true; alive;) {
      if (++steps_ > kMostSteps) give_up();
      const PatternStep& s = t_.pattern_steps[step];
      alive = true;
      switch (static_cast<PatternOp>(s.op)) {
        case PatternOp::kMatch:
          choices.resize(bottom);
          --depth_;
          return at;
        case PatternOp::kSet:
          alive = take(s.set, at);
          ++step;
          break;
        case PatternOp::kRun:
        case PatternOp::kRunBack:
          alive = repeat(s, step, at, choices);
          ++step;
          break;
        case PatternOp::kSplit:
          choices.push_back({s.y, nullptr, at});
          step = s.x;
          break;
        case PatternOp::kJump:
          step = s.x;
          break;
        case PatternOp::kAhead:
          alive = (run(s.x, at) != nullptr) == (s.set == 0);
          step = s.y;
          break;
        case PatternOp::kLineEnd:
        case PatternOp::kTextEnd:
          alive = at_end(at) || (s.op == static_cast<uint32_t>(PatternOp::kLineEnd) && *at == '\n');
          ++step;
          break;
        case PatternOp::kCount:
          alive = false;
      }
      if (!alive) alive = go_back(choices, bottom, step, at);
    }
    --depth_;
    return nullptr;
  }

 private:
  [[noreturn]] static void give_up() {
    throw Error(ErrorKind::kUnsupportedTokenizer,
                "[Vocabulary] expected a pattern that is done with a text in 10^7 steps, got one "
                "that is not");
  }

  bool at_end(const char* at) {
    if (at == end_) return seen_.end = true;
    seen_.furthest = std::max(seen_.furthest, at + 1);
    return false;
  }

  // Moves behind one character of the set.
  bool take(uint32_t set, const char*& at) {
    if (at == end_) return seen_.end = true, false;
    const char* next = at;
    const uint32_t point = decode(next);
    seen_.furthest = std::max(seen_.furthest, next);
    if (!in_set(t_, t_.pattern_sets[set], point, categories_)) return false;
    at = next;
    return true;
  }

  bool repeat(const PatternStep& s, uint32_t step, const char*& at, std::vector<Choice>& choices) {
    uint32_t count = 0;
    const char* low = at;
    for (; count < s.y && take(s.set, at); ++count) {
      if (count + 1 == s.x) low = at;
    }
    if (count < s.x) return false;
    if (s.op == static_cast<uint32_t>(PatternOp::kRunBack) && at != low) {
      choices.push_back({step + 1, low, at});
    }
    return true;
  }

  static bool go_back(std::vector<Choice>& choices, size_t bottom, uint32_t& step,
                      const char*& at) {
    if (choices.size() == bottom) return false;
    Choice& last = choices.back();
    step = last.step;
    if (last.low == nullptr) {
      at = last.at;
      choices.pop_back();
      return true;
    }
    at = last.at = previous_character(last.at);
    if (last.at == last.low) choices.pop_back();
    return true;
  }

  const Tables& t_;
  const uint8_t* categories_;
  const char* end_;
  Seen& seen_;
  std::vector<Choice>& choices_;
  uint64_t steps_ = 0;
  uint32_t depth_ = 0;
};

}  // namespace

bool in_set(const Tables& t, const CharacterSet& set, uint32_t point, const uint8_t* categories) {
  if (point < 128) return set.ascii[point / 64] >> (point % 64) & 1;
  bool inside = (1u << categories[point] & set.categories) != 0 ||
                (set.properties != 0 && (unicode().property[point] & set.properties) != 0);
  const uint32_t* range = t.pattern_ranges.data + set.ranges;
  for (uint32_t i = 0; !inside && i < set.range_count; ++i, range += 2) {
    inside = point >= range[0] && point <= range[1];
  }
  return inside != (set.negated != 0);
}

const char* match_pattern(const Tables& t, const uint8_t* categories, uint32_t first_step,
                          const char* at, const char* end, Seen& seen) {
  thread_local std::vector<Choice> choices;
  choices.clear();
  return Matcher(t, categories, end, seen, choices).run(first_step, at);
}

}  // namespace anydraft::detail
