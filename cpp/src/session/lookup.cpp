#include "session/lookup.h"

#include <algorithm>

namespace anydraft::detail {

TokenIds look_up(const TokenIds& text, size_t length) {
  for (size_t n : {3, 2}) {
    if (text.size() <= n) continue;
    const auto tail = text.end() - n;
    for (auto at = text.end() - n; at != text.begin();) {
      --at;
      if (!std::equal(tail, text.end(), at)) continue;
      const auto begin = at + n;
      const size_t count = std::min<size_t>(length, text.end() - begin);
      return TokenIds(begin, begin + count);
    }
  }
  return {};
}

}  // namespace anydraft::detail
