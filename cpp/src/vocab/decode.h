// From ids to text.
#pragma once

#include <string>

#include "anydraft/vocabulary.h"
#include "vocab/tables.h"

namespace anydraft::detail {

// What the owner's library gives: always valid UTF-8, with U+FFFD for what is none. Ids outside the
// table are left out.
std::string decode_as_owner(const Tables& tables, const TokenIds& ids, bool skip_specials);

}  // namespace anydraft::detail
