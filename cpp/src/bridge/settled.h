// Whether the first token of a text is decided, whatever text follows.
#pragma once

#include <string_view>

#include "anydraft/retokenizer.h"

namespace anydraft::detail {

// `reader` has been fed exactly `text`. Errs on the side of no: yes where the tokeniser's own rule
// says so (Retokenizer), or where a pre-tokeniser cuts at a place in the text whatever stands
// around it, as behind a word: " hello" + " ". Never yes for texts a caller's function encodes.
bool first_token_settled(const Vocabulary& vocabulary, std::string_view text,
                         const Retokenizer& reader);

}  // namespace anydraft::detail
