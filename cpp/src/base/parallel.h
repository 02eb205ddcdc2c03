// Loops over rows and requests on the threads of anydraft/threads.h.
#pragma once

#include <cstdint>

namespace anydraft::detail {

// Work below this, in entries of rows read, is done before another thread wakes up.
constexpr int64_t kWorthWaking = 65536;

struct Loop {
  int64_t count;
  void* context;
  void (*call)(void* context, int64_t index);
};

void run(const Loop& loop);

// Calls f(0) ... f(count - 1), each once, on several threads; f writes only what belongs to its
// index. Where calls throw, rethrows what the lowest index threw (later ones may not have run).
// `entries_each`: how many entries of rows one call reads, about.
template <class F>
void parallel_for(int64_t count, F f, int64_t entries_each = kWorthWaking) {
  if (count < 2 || entries_each < kWorthWaking / count) {
    for (int64_t i = 0; i < count; ++i) f(i);
    return;
  }
  run({count, &f, [](void* context, int64_t index) { (*static_cast<F*>(context))(index); }});
}

}  // namespace anydraft::detail
