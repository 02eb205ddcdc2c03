#include "engine/logit_changes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <string>

#include "base/shown.h"
#include "rows/draft_rows.h"

namespace anydraft {
namespace {

void check_id(int32_t id, const char* of) {
  if (id < 0)
    detail::fail_in_engine(std::string("ids >= 0 in ") + of + ", got " + std::to_string(id));
}

void check_penalty(double penalty, const char* name) {
  if (!(std::fabs(penalty) <= std::numeric_limits<float>::max())) {
    detail::fail_in_engine(std::string("a finite ") + name + ", of at most 3.4e38, got " +
                           shown(penalty));
  }
}

}  // namespace

bool LogitChanges::any() const {
  return !logit_bias.empty() || repetition_penalty != 1 || frequency_penalty != 0 ||
         presence_penalty != 0 || !bad_words.empty() || min_tokens > 0 || allowed;
}

void LogitChanges::validate() const {
  if (!(repetition_penalty > 0)) {
    detail::fail_in_engine("repetition_penalty > 0, got " + shown(repetition_penalty));
  }
  check_penalty(repetition_penalty, "repetition_penalty");
  if (repetition_penalty < std::numeric_limits<float>::min()) {
    detail::fail_in_engine("repetition_penalty of at least 1.2e-38, got " +
                           shown(repetition_penalty));
  }
  check_penalty(frequency_penalty, "frequency_penalty");
  check_penalty(presence_penalty, "presence_penalty");
  if (min_tokens < 0) detail::fail_in_engine("min_tokens >= 0, got " + std::to_string(min_tokens));
  for (const auto& [id, bias] : logit_bias) {
    check_id(id, "logit_bias");
    if (std::isnan(bias) || bias == INFINITY)
      detail::fail_in_engine("a finite bias or -inf in logit_bias");
  }
  for (const TokenIds& word : bad_words) {
    if (word.empty()) detail::fail_in_engine("bad_words of at least one id each, got an empty one");
    for (int32_t id : word) check_id(id, "bad_words");
  }
  if (!allowed) return;
  if (allowed->empty()) detail::fail_in_engine("allowed_token_ids of at least one id, got none");
  for (int32_t id : *allowed) check_id(id, "allowed_token_ids");
}

namespace detail {
namespace {

float& at(const ChangedRow& row, int32_t id, const char* of) {
  if (id < row.cols) return row.logits[id];
  fail_in_engine(std::string("ids below ") + std::to_string(row.cols) +
                 " (the target's logits) in " + of + ", got " + std::to_string(id));
}

void penalise(const LogitChanges& changes, const TokenIds& text, size_t prompt,
              const ChangedRow& row) {
  const auto known = [&](int32_t id) { return id < row.cols; };  // a prompt may hold others
  if (changes.repetition_penalty != 1) {
    const auto by = static_cast<float>(changes.repetition_penalty);
    for (int32_t id : std::set<int32_t>(text.begin(), text.end())) {
      if (known(id))
        row.logits[id] = row.logits[id] > 0 ? row.logits[id] / by : row.logits[id] * by;
    }
  }
  if (changes.frequency_penalty == 0 && changes.presence_penalty == 0) return;
  std::map<int32_t, int32_t> counts;
  for (size_t i = prompt; i < text.size(); ++i) ++counts[text[i]];
  for (const auto& [id, count] : counts) {
    const double off = changes.frequency_penalty * count + changes.presence_penalty;
    if (known(id)) row.logits[id] -= static_cast<float>(off);
  }
}

// Whether all of a word but its last token ends the text.
bool ends_with(const TokenIds& text, const TokenIds& word) {
  const auto before = static_cast<int64_t>(word.size()) - 1;
  return before <= static_cast<int64_t>(text.size()) &&
         std::equal(word.begin(), word.end() - 1, text.end() - before);
}

}  // namespace

void change_logits(const LogitChanges& changes, const TokenIds& text, size_t prompt,
                   const TokenIds& stop, ChangedRow row) {
  for (const auto& [id, bias] : changes.logit_bias) at(row, id, "logit_bias") += bias;
  penalise(changes, text, prompt, row);
  for (const TokenIds& word : changes.bad_words) {
    if (ends_with(text, word)) at(row, word.back(), "bad_words") = -INFINITY;
  }
  if (static_cast<int64_t>(text.size() - prompt) < changes.min_tokens) {
    for (int32_t id : stop) {
      if (id < row.cols) row.logits[id] = -INFINITY;
    }
  }
  if (!changes.allowed) return;
  std::vector<float> kept;
  for (int32_t id : *changes.allowed) kept.push_back(at(row, id, "allowed_token_ids"));
  std::fill(row.logits, row.logits + row.cols, -INFINITY);
  for (size_t i = 0; i < kept.size(); ++i) row.logits[(*changes.allowed)[i]] = kept[i];
}

TokenLogprobs logprobs_of(const RowsView& rows, int64_t index, const SamplingParams& sampling,
                          int32_t token, int32_t count) {
  const Distribution distribution = weighed(rows.at(index), sampling);
  const auto log_mass = [&](int32_t id) { return std::log(mass(distribution, id)); };
  TokenLogprobs told{log_mass(token), {}};
  std::vector<int32_t> ids(std::min<int64_t>(count, distribution.size));
  if (ids.empty()) return told;
  std::vector<int32_t> all(distribution.size);
  std::iota(all.begin(), all.end(), 0);
  std::partial_sort_copy(all.begin(), all.end(), ids.begin(), ids.end(), [&](int32_t a, int32_t b) {
    const float x = load(distribution.row, distribution.dtype, a);
    const float y = load(distribution.row, distribution.dtype, b);
    return x != y ? x > y : a < b;
  });
  for (int32_t id : ids) told.top.emplace_back(id, log_mass(id));
  return told;
}

}  // namespace detail
}  // namespace anydraft
