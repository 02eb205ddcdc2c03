// From text to ids, through added tokens, normaliser, pre-tokeniser and model.
#pragma once

#include <string_view>

#include "anydraft/vocabulary.h"
#include "vocab/models.h"
#include "vocab/tables.h"

namespace anydraft::detail {

// What the owner's library gives for valid UTF-8 without adding special tokens.
void encode_as_owner(const Tables& tables, std::string_view text, bool specials, TokenIds& ids);

// Ids whose bytes join to exactly the valid UTF-8 `text`, where config.exact says so: the owner's
// pre-tokeniser and model without its normaliser, prefix space and specials.
void encode_exactly(const Tables& tables, std::string_view text, TokenIds& ids);

// The model on one piece after another; Unigram's sum goes on from piece to piece where its owner
// sees one text.
void encode_pieces(const Tables& tables, std::string_view text, double& score, Scratch& scratch,
                   TokenIds& ids);

Scratch& thread_scratch();

}  // namespace anydraft::detail
