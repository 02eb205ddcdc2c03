// Prompt lookup: drafts without a model. Saxena 2023, "Prompt lookup decoding".
#pragma once

#include "anydraft/vocabulary.h"

namespace anydraft::detail {

// At most `length` tokens: what followed the place whose preceding tokens agree longest with the
// end of the text (2 to 16 tokens; the latest of several such places).
TokenIds look_up(const TokenIds& text, size_t length);

}  // namespace anydraft::detail
