// How far an encoding is final.
#pragma once

#include <cstddef>

namespace anydraft::detail {

// The last place up to `limit` where text may be cut without changing any ids, now or later.
struct Mark {
  const char* limit = nullptr;
  bool open = true;             // the text may go on where it ends now
  const char* place = nullptr;  // nullptr: none yet
  size_t ids = 0;               // how many ids lie before it
  double score = 0;             // Unigram: the sum there

  void reach(const char* here, size_t count, double sum) {
    if (here <= limit) place = here, ids = count, score = sum;
  }
};

}  // namespace anydraft::detail
