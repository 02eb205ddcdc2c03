// LogitChanges at work: the target's rows of a tree, each changed by the text before it.
#pragma once

#include <string>
#include <vector>

#include "anydraft/engine.h"
#include "anydraft/error.h"

namespace anydraft::detail {

[[noreturn]] inline void fail_in_engine(const std::string& expected) {
  throw Error(ErrorKind::kValue, "[Engine] expected " + expected);
}

// A row of the target to be changed: [cols] float32.
struct ChangedRow {
  float* logits;
  int64_t cols;
};

// `text` stands before the row, its first `prompt` tokens are the prompt; `stop` are the ids that
// min_tokens rules out. Throws Error(kValue) for an id that the row has no logit for.
void change_logits(const LogitChanges& changes, const TokenIds& text, size_t prompt,
                   const TokenIds& stop, ChangedRow row);

// Log-probabilities of `token` and the `count` likeliest tokens. A greedy distribution says nothing
// but the token: then they are those at temperature 1, as detail::weigh has it.
TokenLogprobs logprobs_of(const RowsView& rows, int64_t index, const SamplingParams& sampling,
                          int32_t token, int32_t count);

}  // namespace anydraft::detail
