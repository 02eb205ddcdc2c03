// Prompt lookup: drafts without a model. Saxena 2023, "Prompt lookup decoding".
#pragma once

#include "anydraft/vocabulary.h"

namespace anydraft::detail {

// What followed the latest earlier occurrence of the last tokens (of 3, else of 2), at most
// `length` tokens.
TokenIds look_up(const TokenIds& text, size_t length);

}  // namespace anydraft::detail
