// Loops over rows and requests on the threads of anydraft/threads.h.
#pragma once

#include <algorithm>
#include <cstdint>

#include "anydraft/detail/distribution.h"

namespace anydraft::detail {

// Work below this, in entries of rows read, is done before another thread wakes up.
constexpr int64_t kWorthWaking = 65536;

struct Loop {
  int64_t count;
  void* context;
  void (*call)(void* context, int64_t index);
  // Not on a service's executor, which may have this thread read other rows meanwhile.
  bool within_row = false;
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

// As parallel_for, for parts of one row of `entries`. What f keeps by thread is no part of the
// result.
template <class F>
void parallel_in_row(int64_t parts, int64_t entries, F f) {
  if (parts < 2 || entries < kWorthWaking) {
    for (int64_t i = 0; i < parts; ++i) f(i);
    return;
  }
  run({parts, &f, [](void* context, int64_t i) { (*static_cast<F*>(context))(i); }, true});
}

// Calls f(begin, end) for parts of the chunks [0, count) of a row. `cost`: of reading an entry, in
// those of a row that lies there.
template <class F>
void parallel_chunks(int64_t count, F f, int64_t cost = 1) {
  const int64_t entries = count * kChunk * cost;
  const int64_t parts = std::max(std::min(entries / (kWorthWaking / 2), count), int64_t{1});
  parallel_in_row(parts, entries,
                  [&](int64_t i) { f(count * i / parts, count * (i + 1) / parts); });
}

// As parallel_chunks, f(chunk) for each.
template <class F>
void parallel_each_chunk(int64_t count, F f, int64_t cost = 1) {
  const auto part = [&](int64_t chunk, int64_t end) {
    for (; chunk < end; ++chunk) f(chunk);
  };
  parallel_chunks(count, part, cost);
}

}  // namespace anydraft::detail
