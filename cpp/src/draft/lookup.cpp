#include "draft/lookup.h"

#include <algorithm>

namespace anydraft {
namespace detail {
namespace {

constexpr size_t kShortest = 2;  // a single token says too little
constexpr size_t kLongest = 16;  // enough to tell places apart

// How many tokens before `at` equal the last ones of the text, at most kLongest.
size_t agreement(const TokenIds& text, size_t at) {
  const size_t limit = std::min(at, kLongest);
  size_t count = 0;
  while (count < limit && text[at - 1 - count] == text[text.size() - 1 - count]) ++count;
  return count;
}

}  // namespace

Found look_up(const TokenIds& text, size_t length) {
  size_t best = 0, longest = kShortest - 1;
  for (size_t at = text.size(); at-- > kShortest;) {  // the latest place of the longest agreement
    const size_t count = agreement(text, at);
    if (count > longest) longest = count, best = at;
    if (longest == kLongest) break;
  }
  const size_t count = best == 0 ? 0 : std::min(length, text.size() - best);
  return {TokenIds(text.begin() + best, text.begin() + best + count),
          static_cast<int64_t>(longest)};
}

}  // namespace detail

void LookupSource::start(const TokenIds& committed, int64_t remaining) {
  draft_ = {};
  draft_.tree.tokens[0] = committed.back();
  const size_t length = shape_for(pair_.options, remaining).levels();
  int32_t node = 0;
  detail::Found found = detail::look_up(committed, length);
  for (int32_t token : found.tokens) {
    // A prompt may hold ids that the target has no logits for, which it cannot say either.
    if (token >= target_width_) break;
    if (policy_ && !policy_->step_agreed(found.agreed++).draw) break;
    node = draft_.tree.add(node, token);
  }
}

}  // namespace anydraft
