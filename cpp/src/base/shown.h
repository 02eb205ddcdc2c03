// Numbers in messages, with the digits that tell them apart.
#pragma once

#include <charconv>
#include <string>

namespace anydraft {

// The shortest text that reads back as `number`, whatever the locale: 1e-09, not 0.000000.
template <class Number>
std::string shown(Number number) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, number).ptr};
}

}  // namespace anydraft
