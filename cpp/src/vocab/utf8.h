#pragma once

#include <cstddef>
#include <string_view>

namespace anydraft::detail {

// Length of the valid UTF-8 character at `at`; 0: invalid there, or cut off by the end.
size_t character_length(std::string_view text, size_t at);

}  // namespace anydraft::detail
