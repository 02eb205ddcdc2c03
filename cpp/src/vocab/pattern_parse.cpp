#include "vocab/pattern_parse.h"

#include "anydraft/error.h"
#include "vocab/unicode.h"

namespace anydraft::detail {
namespace {

using Node = std::unique_ptr<PatternNode>;

constexpr uint32_t kDeepest = 64;    // groups in groups
constexpr uint32_t kLargest = 1000;  // counted repeats

struct NamedSet {
  std::string_view name;
  uint32_t categories;
};
constexpr NamedSet kNamed[] = {
    {"L", kLetters},   {"Lu", bits(kLu)}, {"Ll", bits(kLl)},   {"Lt", bits(kLt)},
    {"Lm", bits(kLm)}, {"Lo", bits(kLo)}, {"M", kMarks},       {"Mn", bits(kMn)},
    {"Mc", bits(kMc)}, {"Me", bits(kMe)}, {"N", kNumbers},     {"Nd", bits(kNd)},
    {"Nl", bits(kNl)}, {"No", bits(kNo)}, {"P", kPunctuation}, {"Pc", bits(kPc)},
    {"Pd", bits(kPd)}, {"Ps", bits(kPs)}, {"Pe", bits(kPe)},   {"Pi", bits(kPi)},
    {"Pf", bits(kPf)}, {"Po", bits(kPo)}, {"S", kSymbols},     {"Sm", bits(kSm)},
    {"Sc", bits(kSc)}, {"Sk", bits(kSk)}, {"So", bits(kSo)},   {"Z", bits(kZs, kZl, kZp)},
    {"Zs", bits(kZs)}, {"Zl", bits(kZl)}, {"Zp", bits(kZp)},   {"Cc", bits(kCc, kCcSpace)},
    {"Cf", bits(kCf)},
};

// Oniguruma's \w: the regex crate's without joiners, but with Latin-1's fractions and powers.
std::vector<std::pair<uint32_t, uint32_t>> word_ranges() {
  const auto& property = unicode().property;
  const auto is_word = [&](uint32_t point) {
    const bool latin =
        point == 0xB2 || point == 0xB3 || point == 0xB9 || (point >= 0xBC && point <= 0xBE);
    return latin || ((property[point] & kWord) != 0 && point != 0x200C && point != 0x200D);
  };
  std::vector<std::pair<uint32_t, uint32_t>> ranges;
  for (uint32_t point = 0; point < 0x110000; ++point) {
    if (!is_word(point)) continue;
    if (!ranges.empty() && ranges.back().second + 1 == point) {
      ranges.back().second = point;
    } else {
      ranges.push_back({point, point});
    }
  }
  return ranges;
}

class Parser {
 public:
  Parser(std::string_view text, PatternDialect dialect)
      : whole_(text), at_(text.data()), end_(at_ + text.size()), dialect_(dialect) {}

  Node parse() {
    Node node = choice(0);
    if (at_ != end_) refuse("a closing bracket");
    return node;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorKind::kUnsupportedTokenizer,
                "[Vocabulary] expected a supported pattern of Split, got " + std::string(whole_) +
                    " with " + what);
  }

  bool next_is(std::string_view text) const {
    return std::string_view(at_, end_ - at_).substr(0, text.size()) == text;
  }
  bool take(std::string_view text) {
    if (!next_is(text)) return false;
    at_ += text.size();
    return true;
  }

  static Node make(PatternNode::Kind kind) {
    Node node = std::make_unique<PatternNode>();
    node->kind = kind;
    return node;
  }

  Node choice(uint32_t depth) {
    if (depth > kDeepest) refuse("groups too deep");
    Node node = sequence(depth);
    if (!next_is("|")) return node;
    Node all = make(PatternNode::kChoice);
    all->parts.push_back(std::move(node));
    while (take("|")) all->parts.push_back(sequence(depth));
    return all;
  }

  Node sequence(uint32_t depth) {
    Node node = make(PatternNode::kSequence);
    while (at_ != end_ && *at_ != '|' && *at_ != ')') node->parts.push_back(repeated(depth));
    return node;
  }

  Node repeated(uint32_t depth) {
    Node node = atom(depth);
    while (at_ != end_) {
      uint32_t least = 0, most = kEndless;
      const bool interval = next_is("{");
      if (take("*")) {
      } else if (take("+")) {
        least = 1;
      } else if (take("?")) {
        most = 1;
      } else if (interval && counted(least, most)) {
      } else {
        return node;
      }
      Node repeat = make(PatternNode::kRepeat);
      repeat->least = least;
      repeat->most = most;
      // In Oniguruma a plus behind braces repeats once more, and {n}? is an option.
      const bool ruby = interval && dialect_ == PatternDialect::kOniguruma;
      if (ruby && least == most && next_is("?")) refuse("{n}?");
      repeat->lazy = take("?");
      repeat->possessive = !repeat->lazy && !ruby && take("+");
      repeat->parts.push_back(std::move(node));
      node = std::move(repeat);
    }
    return node;
  }

  bool counted(uint32_t& least, uint32_t& most) {
    const char* start = at_++;
    const auto number = [&](uint32_t& value) {
      const char* digits = at_;
      for (value = 0; at_ != end_ && *at_ >= '0' && *at_ <= '9'; ++at_) {
        value = value * 10 + (*at_ - '0');
        if (value > kLargest) refuse("more than 1000 repeats");
      }
      return at_ != digits;
    };
    bool known = number(least);
    if (!known) least = 0;
    most = least;
    if (take(",")) {
      const bool bounded = number(most);
      if (!bounded) most = kEndless;
      known |= bounded;
    }
    if (known && take("}") && least <= most) return true;
    at_ = start;
    refuse("a repeat that is not known");
  }

  Node atom(uint32_t depth) {
    if (take("(")) return group(depth);
    if (take("[")) return one(bracket(depth));
    if (take("$")) {
      return make(dialect_ == PatternDialect::kTiktoken ? PatternNode::kTextEnd
                                                        : PatternNode::kLineEnd);
    }
    if (take("\\")) {
      if (take("z")) return make(PatternNode::kTextEnd);
      return one(escape());
    }
    if (take(".")) {
      SetDescription set;
      set.ranges = {{'\n', '\n'}};
      set.negated = true;
      return one(set);
    }
    if (*at_ == '^' || *at_ == '*' || *at_ == '+' || *at_ == '?') refuse(std::string(1, *at_));
    return one(single(decode(at_)));
  }

  Node one(SetDescription set) const {
    Node node = make(PatternNode::kSet);
    node->set = std::move(set);
    return node;
  }

  SetDescription single(uint32_t point) {
    SetDescription set;
    add(set, point, point);
    return set;
  }

  // Where case is ignored, with the other case: ASCII's, and what folds to ASCII.
  void add(SetDescription& set, uint32_t first, uint32_t last) {
    set.ranges.push_back({first, last});
    if (!fold_) return;
    if (last > 127) refuse("letters beyond ASCII whose case is ignored");
    for (uint32_t point = first; point <= last; ++point) {
      const uint32_t lower = point | 0x20;
      if (lower < 'a' || lower > 'z') continue;
      set.ranges.push_back({point ^ 0x20, point ^ 0x20});
      if (lower == 's') set.ranges.push_back({0x17F, 0x17F});
      if (lower == 'k') set.ranges.push_back({0x212A, 0x212A});
    }
  }

  Node group(uint32_t depth) {
    const bool fold = fold_;
    Node node;
    if (take("?:")) {
      node = choice(depth + 1);
    } else if (take("?i:")) {
      fold_ = true;
      node = choice(depth + 1);
    } else if (next_is("?=") || next_is("?!")) {
      node = make(PatternNode::kAhead);
      node->negated = at_[1] == '!';
      at_ += 2;
      node->parts.push_back(choice(depth + 1));
    } else if (next_is("?")) {
      refuse("the group (" + std::string(at_, std::min<size_t>(end_ - at_, 3)));
    } else {
      node = choice(depth + 1);
    }
    fold_ = fold;
    if (!take(")")) refuse("a group without an end");
    return node;
  }

  // One of the classes that may stand in brackets too.
  SetDescription escape() {
    if (at_ == end_) refuse("a backslash at its end");
    const char sign = *at_++;
    SetDescription set;
    switch (sign) {
      case 's':
      case 'S':
        set.categories = kSpaces;
        break;
      case 'd':
      case 'D':
        set.categories = bits(kNd);
        break;
      case 'w':
      case 'W':
        set.ranges = word_ranges();
        break;
      case 'p':
      case 'P':
        set.categories = named(set.negated);
        break;
      default:
        --at_;
        return single(escaped_point());
    }
    set.negated ^= sign < 'a';
    return set;
  }

  uint32_t named(bool& negated) {
    if (!take("{")) refuse("a class without a name");
    negated = take("^");
    const char* name = at_;
    while (at_ != end_ && *at_ != '}') ++at_;
    const std::string_view found(name, at_ - name);
    if (!take("}")) refuse("a class without an end");
    for (const NamedSet& set : kNamed) {
      if (set.name == found) return set.categories;
    }
    refuse("the class " + std::string(found));
  }

  uint32_t escaped_point() {
    const char sign = *at_;
    if (static_cast<uint8_t>(sign) >= 0x80) return decode(at_);
    ++at_;
    switch (sign) {
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case 'f':
        return '\f';
      case 'v':
        return '\v';
      case 'u':
        return hexadecimal(4);
      case 'x':
        return hexadecimal(2);
      default:
        break;
    }
    const bool letter = (sign | 0x20) >= 'a' && (sign | 0x20) <= 'z';
    if (letter || (sign >= '0' && sign <= '9')) refuse(std::string("\\") + sign);
    return static_cast<uint8_t>(sign);
  }

  uint32_t hexadecimal(int digits) {
    const bool braces = take("{");
    uint32_t point = 0;
    int count = 0;
    for (; at_ != end_ && count < (braces ? 6 : digits); ++count, ++at_) {
      const char c = *at_ | 0x20;
      if (c >= '0' && c <= '9') {
        point = point * 16 + (c - '0');
      } else if (c >= 'a' && c <= 'f') {
        point = point * 16 + (c - 'a' + 10);
      } else {
        break;
      }
    }
    if (count == 0 || (braces ? !take("}") : count != digits) || point > 0x10FFFF) {
      refuse("a code point that is not known");
    }
    return point;
  }

  SetDescription bracket(uint32_t depth) {
    if (depth > kDeepest) refuse("brackets too deep");
    SetDescription set;
    set.negated = take("^");
    for (bool first = true; first || !next_is("]"); first = false) {
      if (at_ == end_) refuse("a bracket without an end");
      if (next_is("[:") || next_is("&&")) refuse(std::string(at_, 2));
      if (take("[")) {
        join(set, bracket(depth + 1));
        continue;
      }
      SetDescription part = member();
      const bool range = next_is("-") && end_ - at_ > 1 && at_[1] != ']';
      if (range) {
        if (!is_point(part)) refuse("a range that begins with a class");
        ++at_;
        const uint32_t low = part.ranges[0].first;
        const SetDescription last = member();
        if (!is_point(last)) refuse("a range that ends with a class");
        if (last.ranges[0].first < low) refuse("a range the wrong way");
        add(set, low, last.ranges[0].first);
        continue;
      }
      join(set, part);
    }
    ++at_;
    return set;
  }

  // A character, with its other cases behind it; no class.
  static bool is_point(const SetDescription& part) {
    return part.categories == 0 && part.properties == 0 && !part.negated && !part.ranges.empty() &&
           part.ranges.size() <= 3 && part.ranges[0].first == part.ranges[0].second;
  }

  SetDescription member() {
    if (at_ == end_) refuse("a bracket without an end");
    if (take("\\")) return escape();
    return single(decode(at_));
  }

  // A negated class can join others only where it is a set of categories.
  void join(SetDescription& set, const SetDescription& part) const {
    if (part.negated && (!part.ranges.empty() || part.properties != 0)) {
      refuse("a negated class within brackets");
    }
    set.categories |= part.negated ? ~part.categories & 0x7FFFFFFF : part.categories;
    set.properties |= part.properties;
    set.ranges.insert(set.ranges.end(), part.ranges.begin(), part.ranges.end());
  }

  const std::string_view whole_;
  const char *at_, *const end_;
  const PatternDialect dialect_;
  bool fold_ = false;
};

}  // namespace

std::unique_ptr<PatternNode> parse_pattern(std::string_view text, PatternDialect dialect) {
  return Parser(text, dialect).parse();
}

}  // namespace anydraft::detail
