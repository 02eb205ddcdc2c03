#include "decoder/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "anydraft/error.h"
#include "vocab/unicode.h"

namespace anydraft::detail {

class JsonReader {
 public:
  JsonReader(std::string_view text, const std::string& what) : text_(text), what_(what) {}

  Json document() {
    Json value = read(0);
    skip_spaces();
    if (at_ != text_.size()) fail("nothing behind the value");
    return value;
  }

 private:
  static constexpr int kDeepest = 64;
  // A value takes 50 times the bytes of its text; files of real models have some ten thousand.
  static constexpr int kMostValues = 1 << 20;

  [[noreturn]] void fail(const char* expected) const {
    throw Error(ErrorKind::kValue, what_ + " expected JSON with " + expected + " at byte " +
                                       std::to_string(at_) + ", got something else");
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_spaces() {
    while (at_ < text_.size() && std::string_view(" \t\n\r").find(text_[at_]) != text_.npos) ++at_;
  }
  bool take(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  bool take_sign(char sign) {
    skip_spaces();
    if (peek() != sign) return false;
    ++at_;
    return true;
  }

  Json read(int depth) {
    if (depth > kDeepest) fail("at most 64 levels");
    if (++values_ > kMostValues) fail("at most 1048576 values");
    skip_spaces();
    if (peek() == '{') return read_object(depth);
    if (peek() == '[') return read_array(depth);
    if (peek() == '"') return Json(read_text());
    if (take("null")) return Json();
    if (take("true")) return Json(true);
    if (take("false")) return Json(false);
    return Json(read_number());
  }

  Json read_array(int depth) {
    std::vector<Json> items;
    ++at_;
    if (take_sign(']')) return Json(std::move(items));
    do items.push_back(read(depth + 1));
    while (take_sign(','));
    if (!take_sign(']')) fail("a ']'");
    return Json(std::move(items));
  }

  Json read_object(int depth) {
    Json::Members members;
    ++at_;
    if (!take_sign('}')) {
      do {
        skip_spaces();
        if (peek() != '"') fail("a key");
        std::string key = read_text();
        if (!take_sign(':')) fail("a ':'");
        members.emplace_back(std::move(key), read(depth + 1));
      } while (take_sign(','));
      if (!take_sign('}')) fail("a '}'");
    }
    std::optional<Json> value = Json::object(std::move(members));
    if (!value) fail("keys that differ");
    return std::move(*value);
  }

  double read_number() {
    const size_t begin = at_;
    take("-");
    if (take("0")) {
      if (is_digit(peek())) fail("no leading zero");
    } else {
      digits();
    }
    if (take(".")) digits();
    if (take("e") || take("E")) {
      if (!take("+")) take("-");
      digits();
    }
    double number = 0;
    const auto read = std::from_chars(text_.data() + begin, text_.data() + at_, number);
    if (read.ec != std::errc()) fail("a number that a double holds");
    return number;
  }
  static bool is_digit(char sign) { return sign >= '0' && sign <= '9'; }
  void digits() {
    if (!is_digit(peek())) fail("a value");
    while (is_digit(peek())) ++at_;
  }

  std::string read_text() {
    std::string text;
    ++at_;
    while (peek() != '"') {
      const char sign = peek();
      if (static_cast<unsigned char>(sign) < 0x20) fail("an end of the string");
      ++at_;
      if (sign == '\\') {
        read_escape(text);
      } else {
        text += sign;
      }
    }
    ++at_;
    return text;
  }

  void read_escape(std::string& text) {
    static constexpr std::string_view kSigns = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    const char sign = peek();
    ++at_;
    if (const size_t known = kSigns.find(sign); sign != '\0' && known != kSigns.npos) {
      text += kMeanings[known];
      return;
    }
    if (sign != 'u') fail("an escape");
    uint32_t code = read_hex();
    if (code >= 0xD800 && code < 0xDC00 && take("\\u")) {
      const uint32_t low = read_hex();
      if (low < 0xDC00 || low > 0xDFFF) fail("a pair of surrogates");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (code >= 0xD800 && code <= 0xDFFF) fail("a pair of surrogates");
    append_utf8(text, code);
  }
  uint32_t read_hex() {
    uint32_t code = 0;
    const std::string_view four = text_.substr(at_, 4);
    const auto read = std::from_chars(four.data(), four.data() + four.size(), code, 16);
    if (read.ec != std::errc() || read.ptr != four.data() + 4) fail("four hexadecimal digits");
    at_ += 4;
    return code;
  }
  std::string_view text_;
  const std::string& what_;
  size_t at_ = 0;
  int values_ = 0;
};

std::optional<Json> Json::object(Members members) {
  const auto by_key = [](const auto& a, const auto& b) { return a.first < b.first; };
  const auto same = [](const auto& a, const auto& b) { return a.first == b.first; };
  std::sort(members.begin(), members.end(), by_key);
  if (std::adjacent_find(members.begin(), members.end(), same) != members.end()) {
    return std::nullopt;
  }
  Json made;
  made.kind_ = Kind::kObject;
  made.members_ = std::move(members);
  return made;
}

Json Json::parse(std::string_view text, const std::string& what) {
  return JsonReader(text, what).document();
}

std::optional<int64_t> Json::whole() const {
  const bool fits =
      is(Kind::kNumber) && std::fabs(number_) < 0x1p53 && number_ == std::floor(number_);
  return fits ? std::optional(static_cast<int64_t>(number_)) : std::nullopt;
}

const Json* Json::member(std::string_view key) const {
  const auto at = std::lower_bound(members_.begin(), members_.end(), key,
                                   [](const auto& member, auto k) { return member.first < k; });
  return at == members_.end() || at->first != key ? nullptr : &at->second;
}

const Json* Json::find(std::string_view key) const {
  const Json* value = member(key);
  return value && !value->is(Kind::kNull) ? value : nullptr;
}

}  // namespace anydraft::detail
