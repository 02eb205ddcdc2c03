// Normalisers: from a text to the text that the model sees.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vocab/tables.h"

namespace anydraft::detail {

// Applies the tables' steps to valid UTF-8. Returns a view of `text` where nothing changes it, else
// of `to`; `other` is scratch memory.
std::string_view normalize(const Tables& tables, std::string_view text, std::string& to,
                           std::string& other);

enum class Form { kC, kD, kKc, kKd };
// Unicode normalisation (UAX 15) with the owner's tables; false: the text is in that form already.
bool unicode_normalize(Form form, std::string_view text, std::string& to);

// SentencePiece's: the longest entry of the charsmap at each place, then its rules for spaces.
void sentence_piece_normalize(const Tables& tables, uint32_t flags, std::string_view text,
                              std::string& to);
// What `tokenizers` makes of the same charsmap: at each grapheme cluster of fewer than six bytes,
// or else at each character, the shortest entry that it begins with stands for all of it.
void precompiled_normalize(const Tables& tables, std::string_view text, std::string& to);
// Tables' `ascii_forms` for a charsmap.
std::vector<char> ascii_forms(const Array<uint8_t>& charsmap);

}  // namespace anydraft::detail
