// From text to ids, through added tokens, normaliser, pre-tokeniser and model.
#pragma once

#include <string_view>

#include "anydraft/vocabulary.h"
#include "vocab/mark.h"
#include "vocab/models.h"
#include "vocab/tables.h"

namespace anydraft::detail {

// What the owner's library gives for valid UTF-8 without adding special tokens.
void encode_as_owner(const Tables& tables, std::string_view text, bool specials, TokenIds& ids);

// Ids whose bytes join to exactly the valid UTF-8 `text`, where config.exact says so: the owner's
// pre-tokeniser and model without its normaliser, prefix space and specials. `horizon`: where text
// that is yet to come may begin to matter (open_end); nullptr: nowhere in this text. `score` is
// Unigram's sum before the text, and after it. `mark` may be null.
void encode_exactly(const Tables& tables, std::string_view text, const char* horizon, double& score,
                    TokenIds& ids, Mark* mark);

// Where in `bytes` the first unfinished character or added token begins; their end: nowhere.
const char* open_end(const Tables& tables, std::string_view bytes);

// The model on one piece after another. `exact` as in encode_exactly. `origin`: where the owner's
// text begins, if this is its beginning; or null.
void encode_pieces(const Tables& tables, std::string_view text, bool exact, double& score,
                   Scratch& scratch, TokenIds& ids, Mark* mark, const char* origin);

Scratch& thread_scratch();

}  // namespace anydraft::detail
