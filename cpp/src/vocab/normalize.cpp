#include "vocab/normalize.h"

#include <iterator>
#include <unordered_map>

#include "vocab/split.h"
#include "vocab/unicode.h"
#include "vocab/unicode_data.h"

namespace anydraft::detail {
namespace {

constexpr std::string_view kSign = "\xE2\x96\x81";

bool replace(std::string_view text, std::string_view what, std::string_view with, std::string& to) {
  size_t found = text.find(what), copied = 0;
  if (found == std::string_view::npos) return false;
  to.clear();
  for (; found != std::string_view::npos; found = text.find(what, copied)) {
    to.append(text, copied, found - copied);
    to.append(with);
    copied = found + what.size();
  }
  to.append(text, copied);
  return true;
}

void lower(uint32_t point, std::string& to) {
  static const std::unordered_map<uint32_t, uint32_t> cases = [] {
    std::unordered_map<uint32_t, uint32_t> made;
    for (size_t i = 0; i < std::size(kLowerCases); i += 2)
      made[kLowerCases[i]] = kLowerCases[i + 1];
    return made;
  }();
  if (point == 0x130) {
    to.append("i\xCC\x87");
    return;
  }
  const auto found = cases.find(point);
  append_utf8(to, found == cases.end() ? point : found->second);
}

// Each code point through f(point, to).
template <typename F>
bool each(std::string_view text, std::string& to, F&& f) {
  to.clear();
  for (const char *at = text.data(), *end = at + text.size(); at != end;) f(decode(at), to);
  return to != text;
}

bool drop(std::string_view text, uint8_t property, std::string& to) {
  const auto& properties = unicode().property;
  return each(text, to, [&](uint32_t point, std::string& out) {
    if ((properties[point] & property) == 0) append_utf8(out, point);
  });
}

bool strip(std::string_view text, uint32_t flags, std::string& to) {
  const char *begin = text.data(), *end = begin + text.size();
  const auto space = [](const char* at) { return (category_bit(decode(at)) & kSpaces) != 0; };
  while ((flags & 1) && begin != end && space(begin)) begin = next_character(begin);
  while ((flags & 2) && begin != end && space(previous_character(end))) {
    end = previous_character(end);
  }
  to.assign(begin, end);
  return to.size() != text.size();
}

// clean_text, then spaces around Chinese characters.
bool bert_clean(std::string_view text, uint32_t flags, std::string& to) {
  const auto& properties = unicode().property;
  return each(text, to, [&](uint32_t point, std::string& out) {
    const uint8_t property = properties[point];
    if ((flags & 1) && (property & kBertRemoved)) return;
    if ((flags & 1) && (property & kBertSpace)) return out.push_back(' ');
    const bool spaced = (flags & 2) && (property & kBertCjk);
    if (spaced) out.push_back(' ');
    append_utf8(out, point);
    if (spaced) out.push_back(' ');
  });
}

// Two buffers in turn: the text lies in one, the next step writes to the other.
class Steps {
 public:
  Steps(std::string_view text, std::string& to, std::string& other)
      : text_(text), next_(&to), other_(&other) {}

  template <typename F>
  void apply(F&& f) {
    if (!f(text_, *next_)) return;
    text_ = *next_;
    std::swap(next_, other_);
  }
  std::string_view text() const { return text_; }

 private:
  std::string_view text_;
  std::string *next_, *other_;
};

void apply_step(const Tables& t, const Step& step, Steps& steps) {
  const std::string_view what = text_of(t, step.text, step.text_size);
  const std::string_view with = text_of(t, step.other, step.other_size);
  const auto form = [&](Form form) {
    steps.apply([&](auto text, auto& to) { return unicode_normalize(form, text, to); });
  };
  const auto lower_all = [](auto text, auto& to) { return each(text, to, lower); };
  switch (static_cast<StepKind>(step.kind)) {
    case StepKind::kNfc:
      return form(Form::kC);
    case StepKind::kNfd:
      return form(Form::kD);
    case StepKind::kNfkc:
      return form(Form::kKc);
    case StepKind::kNfkd:
      return form(Form::kKd);
    case StepKind::kLowercase:
      return steps.apply(lower_all);
    case StepKind::kStrip:
      return steps.apply([&](auto text, auto& to) { return strip(text, step.flags, to); });
    case StepKind::kStripAccents:
      return steps.apply([&](auto text, auto& to) { return drop(text, kAccent, to); });
    case StepKind::kReplace:
      return steps.apply([&](auto text, auto& to) { return replace(text, what, with, to); });
    case StepKind::kPrepend:
      return steps.apply([&](auto text, auto& to) {
        if (text.empty()) return false;
        to.assign(what).append(text);
        return true;
      });
    case StepKind::kBert:
      steps.apply([&](auto text, auto& to) { return bert_clean(text, step.flags, to); });
      if (step.flags & 4) {
        form(Form::kD);
        steps.apply([&](auto text, auto& to) { return drop(text, kBertAccent, to); });
      }
      if (step.flags & 8) steps.apply(lower_all);
      return;
    case StepKind::kSignToSpace:
      return steps.apply([](auto text, auto& to) { return replace(text, kSign, " ", to); });
    case StepKind::kSentencePiece:
      return steps.apply([&](auto text, auto& to) {
        sentence_piece_normalize(t, step.flags, text, to);
        return true;
      });
    case StepKind::kPrecompiled:
      return steps.apply([&](auto text, auto& to) {
        precompiled_normalize(t, text, to);
        return true;
      });
    case StepKind::kReplacePattern:
      return steps.apply([&](auto text, auto& to) {
        return replace_matches(t, t.split_rules[step.flags], text, with, to);
      });
  }
}

}  // namespace

std::string_view normalize(const Tables& t, std::string_view text, std::string& to,
                           std::string& other) {
  Steps steps(text, to, other);
  for (const Step& step : t.normalizer) apply_step(t, step, steps);
  return steps.text();
}

}  // namespace anydraft::detail
