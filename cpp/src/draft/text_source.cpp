// Drafts without a model: prompt lookup (Saxena 2023, "Prompt lookup decoding"), text that the
// caller expects, or for any other bridge the root alone: plain decoding.
#include <algorithm>

#include "draft/source.h"

namespace anydraft {
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

struct Found {
  TokenIds tokens;
  int64_t agreed;  // tokens before them
};

// At most `length` tokens: what followed the place whose preceding tokens agree longest with the
// end of the text (2 to 16 tokens; the latest of several such places).
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

// Expected text starts with the certainty of a lookup match of this many tokens.
constexpr int64_t kExpected = 4;

class TextSource : public DraftSource {
 public:
  TextSource(const Pair& pair, DraftPolicy* policy)
      : pair_(pair), policy_(policy), target_width_(pair.target->size()) {}
  void start(const TokenIds& committed, int64_t remaining) override;
  void settle(const TokenIds&, const std::vector<int32_t>& path, const RowsView* target) override {
    if (policy_) policy_->judge(static_cast<int64_t>(path.size()));
    if (target) target_width_ = std::max<int64_t>(target->cols, pair_.target->size());
  }
  const Draft& draft() const override { return draft_; }

 private:
  Draft draft_;
  const Pair& pair_;
  DraftPolicy* policy_;
  int64_t target_width_;
};

void TextSource::start(const TokenIds& committed, int64_t remaining) {
  draft_ = {};
  draft_.tree.tokens[0] = committed.back();
  const auto& expected = pair_.options.expect;
  if (!expected && pair_.options.bridge != Bridge::kLookup) return;
  draft_.bridge = pair_.options.bridge;
  const size_t length = shape_for(pair_.options, remaining).levels();
  int32_t node = 0;
  Found found = expected ? Found{expected(committed), kExpected} : look_up(committed, length);
  if (found.tokens.size() > length) found.tokens.resize(length);
  for (int32_t token : found.tokens) {
    // A prompt may hold ids that the target has no logits for, which it cannot say either.
    if (token < 0 || token >= target_width_) break;
    if (policy_ && !policy_->step(static_cast<double>(found.agreed++)).draw) break;
    node = draft_.tree.add(node, token);
  }
}

}  // namespace

std::unique_ptr<DraftSource> make_text_source(const Pair& pair, DraftPolicy* policy) {
  return std::make_unique<TextSource>(pair, policy);
}

}  // namespace anydraft
