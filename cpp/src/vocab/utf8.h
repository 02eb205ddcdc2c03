#pragma once

#include <cstddef>
#include <string_view>

namespace anydraft::detail {

// Length of the valid UTF-8 character at `at`; 0: invalid there, or cut off by the end.
size_t character_length(std::string_view text, size_t at);

// How many bytes from `at` are the beginning of some character; 0: not even one.
size_t character_beginning(std::string_view text, size_t at);

// The first place from `at` on where no valid character stands; the end: all is valid.
size_t valid_until(std::string_view text, size_t at);

}  // namespace anydraft::detail
