// The threads and the scratch memory of one caller of the decoder.
#pragma once

#include <cstdint>
#include <vector>

#include "base/parallel.h"

namespace anydraft::detail {

// Runs loops on the threads of anydraft/threads.h, which spin for a moment between two loops and
// sleep between calls. One caller at a time uses a team; several teams may be at work.
class Team {
 public:
  // Calls f(0) ... f(count - 1), each once, on any threads, and returns when all have returned.
  // Indices are taken in order.
  template <class F>
  void run(int64_t count, F f) {
    if (count == 1) return f(int64_t{0});
    detail::run(
        {count, &f, [](void* context, int64_t index) { (*static_cast<F*>(context))(index); }});
  }
  // Memory for the rows of a product, kept from call to call.
  std::vector<uint32_t>& scratch() { return scratch_; }

 private:
  std::vector<uint32_t> scratch_;
};

}  // namespace anydraft::detail
