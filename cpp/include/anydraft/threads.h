// Threads for work over many rows or requests. Results do not depend on how many there are.
#pragma once

#include <cstdint>
#include <functional>

namespace anydraft {

// How many threads one call may use, the calling one among them; 0: one for each CPU that this
// process may run on (the default). Threads start when first needed, sleep when idle for 300
// microseconds, and are none of OpenMP's. A call that finds them busy with another caller's work
// runs on its own thread alone, and so does a forked child's first call until it starts threads of
// its own. Throws Error(kValue) outside of [0, kMostThreads]. Safe to call at any time.
inline constexpr int kMostThreads = 1024;
void set_threads(int64_t count);
int threads();

// Calls task(0) ... task(count - 1), each once, on any threads, and returns when all have returned;
// the tasks do not throw.
using Executor = std::function<void(int64_t count, const std::function<void(int64_t)>& task)>;

// Work runs on `executor` instead of the built-in threads (a service's own scheduler); empty: back
// to these. Call it before other threads use the library. set_threads(1) still keeps all work on
// the calling thread.
void set_executor(Executor executor);

}  // namespace anydraft
