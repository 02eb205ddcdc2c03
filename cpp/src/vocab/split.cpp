#include "vocab/split.h"

#include <string>

#include "vocab/unicode.h"

namespace anydraft::detail {

bool Splitter::may_match(const char* at) const {
  const uint8_t lead = static_cast<uint8_t>(*at);
  if (lead >= 0x80) return rule_.first_beyond != 0;
  return rule_.first[lead / 64] >> (lead % 64) & 1;
}

// The match at `at`, or the text up to the next one.
Splitter::Span Splitter::span_at(const char* at) {
  if (at == found_) return {at, found_end_, true};
  for (const char* here = at; here != end_; here = next_character(here)) {
    if (!may_match(here)) {
      if (seen_.furthest < here + 1) seen_.furthest = here + 1;
      continue;
    }
    const char* stop = match_pattern(t_, categories_, rule_.start, here, end_, seen_);
    if (stop == nullptr || stop == here) continue;
    if (here == at) return {at, stop, true};
    found_ = here;
    found_end_ = stop;
    return {at, here, false};
  }
  seen_.end = true;
  return {at, end_, false};
}

bool Splitter::next(Piece& piece, Seen& seen) {
  while (at_ != end_) {
    Span span = span_at(at_);
    const auto matches = [&](const Span& s) { return s.matches != (rule_.inverted != 0); };
    const auto follows = [&](Span& s) {  // the span behind it; false: the text ends there
      if (s.end == end_) return seen_.end = true, false;
      s = span_at(s.end);
      return true;
    };
    Span after = span;
    switch (static_cast<SplitBehavior>(rule_.behavior)) {
      case SplitBehavior::kRemoved:
        if (matches(span)) {
          at_ = span.end;
          continue;
        }
        break;
      case SplitBehavior::kMergedWithPrevious:
        if (!matches(span) && follows(after) && matches(after)) span.end = after.end;
        break;
      case SplitBehavior::kMergedWithNext:
        if (matches(span) && follows(after) && !matches(after)) span.end = after.end;
        break;
      case SplitBehavior::kContiguous:
        while (follows(after) && after.matches == span.matches) span.end = after.end;
        break;
      default:
        break;
    }
    piece = {span.begin, span.end};
    at_ = span.end;
    seen = seen_;
    return true;
  }
  return false;
}

bool replace_matches(const Tables& t, const SplitRule& rule, std::string_view text,
                     std::string_view with, std::string& to) {
  const uint8_t* categories = unicode().category.data();
  const char *copied = text.data(), *end = copied + text.size();
  bool any = false;
  Seen seen;
  for (const char* at = copied; at != end;) {
    const char* stop = match_pattern(t, categories, rule.start, at, end, seen);
    if (stop == nullptr || stop == at) {
      at = next_character(at);
      continue;
    }
    if (!any) to.clear();
    any = true;
    to.append(copied, at - copied).append(with);
    copied = at = stop;
  }
  if (any) to.append(copied, end - copied);
  return any;
}

}  // namespace anydraft::detail
