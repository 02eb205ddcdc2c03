#include "anydraft/threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "anydraft/error.h"
#include "base/parallel.h"

namespace anydraft {
namespace {

using detail::Loop;

// A loop under way: indices are taken in order, so those below a failed one have all been run.
class Progress {
 public:
  explicit Progress(const Loop& loop) : loop_(loop) {}

  void work() {
    for (int64_t i = next_.fetch_add(1); i < loop_.count; i = next_.fetch_add(1)) call(i);
  }
  void call(int64_t index) {
    try {
      loop_.call(loop_.context, index);
    } catch (...) {
      next_.store(loop_.count);
      const std::lock_guard<std::mutex> lock(mutex_);
      if (index > failed_) return;
      failed_ = index;
      error_ = std::current_exception();
    }
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  const Loop& loop_;
  std::atomic<int64_t> next_{0};
  std::mutex mutex_;  // guards the two below
  int64_t failed_ = INT64_MAX;
  std::exception_ptr error_;
};

// Waking a thread takes up to this long, so it may look again and again for as long before it
// sleeps.
constexpr std::chrono::microseconds kPatience{50};
constexpr int kShortLooks = 64;  // a few microseconds, in which no other may have its CPU

void rest_a_little() {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_ia32_pause();
#endif
}

// Whether `ready` becomes true soon.
template <class Ready>
bool soon(Ready ready) {
  for (int look = 0; look < kShortLooks; ++look) {
    if (ready()) return true;
    rest_a_little();
  }
  const auto until = std::chrono::steady_clock::now() + kPatience;
  do {
    if (ready()) return true;
    std::this_thread::yield();
  } while (std::chrono::steady_clock::now() < until);
  return false;
}

// Threads that join one loop at a time and sleep between. Who is awake joins and leaves without a
// lock. Never destroyed: its threads may outlive main.
class Pool {
 public:
  // False where the pool is at work for another caller (or for this one, in a nested call).
  bool run(Progress& progress, int helpers) {
    if (busy_.exchange(true)) return false;
    start(helpers);
    progress_ = &progress;
    places_.store(std::min(helpers, workers_));
    if (sleeping_.load() > 0) {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (int i = 0; i < helpers; ++i) wake_.notify_one();
    }
    progress.work();
    close();
    busy_.store(false);
    return true;
  }

 private:
  // Until those who joined the loop have left it; who wakes up late need not come.
  void close() {
    places_.store(0);
    const auto left = [this] { return joined_.load() == 0; };
    if (soon(left)) return;
    std::unique_lock<std::mutex> lock(mutex_);
    closing_.store(true);
    idle_.wait(lock, left);
    closing_.store(false);
  }

  // With all signals blocked, so that they go to the threads of the program.
  void start(int helpers) {
    if (workers_ >= helpers) return;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      for (; workers_ < helpers; ++workers_) std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {
      // No more threads to be had: those there are do the work.
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void serve() {
    const auto wanted = [this] { return places_.load() > 0; };
    for (;;) {
      if (!soon(wanted)) {
        std::unique_lock<std::mutex> lock(mutex_);
        sleeping_.fetch_add(1);
        wake_.wait(lock, wanted);
        sleeping_.fetch_sub(1);
      }
      joined_.fetch_add(1);  // before a place is taken: close() then waits
      if (take_place()) progress_->work();
      if (joined_.fetch_sub(1) == 1 && closing_.load()) {
        const std::lock_guard<std::mutex> lock(mutex_);
        idle_.notify_one();
      }
    }
  }

  bool take_place() {
    int places = places_.load();
    while (places > 0) {
      if (places_.compare_exchange_weak(places, places - 1)) return true;
    }
    return false;
  }

  std::atomic<bool> busy_{false};
  Progress* progress_ = nullptr;  // read by those who took a place
  int workers_ = 0;
  std::atomic<int> places_{0};  // how many may still join the loop
  std::atomic<int> joined_{0};
  // Who goes to sleep says so and looks once more; who would wake it sets what it looks for first.
  std::atomic<int> sleeping_{0};
  std::atomic<bool> closing_{false};
  std::mutex mutex_;
  std::condition_variable wake_, idle_;
};

std::atomic<Pool*> current_pool{nullptr};
std::atomic<int> wanted_threads{0};  // 0: one for each CPU

// A forked child has none of its parent's threads, and perhaps a locked mutex: it starts anew.
void forget_pool() { current_pool.store(nullptr); }

Pool& pool() {
  static const int registered = pthread_atfork(nullptr, nullptr, forget_pool);
  static_cast<void>(registered);
  Pool* existing = current_pool.load();
  if (existing) return *existing;
  Pool* fresh = new Pool;
  if (current_pool.compare_exchange_strong(existing, fresh)) return *fresh;
  delete fresh;
  return *existing;
}

Executor& executor() {
  static Executor* const own = new Executor;  // never destroyed, as the pool
  return *own;
}

int cpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(CPU_COUNT(&set), 1);
  return std::max(static_cast<int>(std::thread::hardware_concurrency()), 1);
}

}  // namespace

void set_threads(int count) {
  if (count < 0) {
    throw Error(
        ErrorKind::kValue,
        "[set_threads] expected a count >= 0 (0: one for each CPU), got " + std::to_string(count));
  }
  wanted_threads.store(count);
}

int threads() {
  static const int all = cpus();
  const int wanted = wanted_threads.load();
  return wanted > 0 ? wanted : all;
}

void set_executor(Executor replacement) { executor() = std::move(replacement); }

namespace detail {

void run(const Loop& loop) {
  Progress progress(loop);
  const int helpers = static_cast<int>(std::min<int64_t>(threads(), loop.count)) - 1;
  if (helpers < 1) {
    progress.work();
  } else if (executor()) {
    if (loop.within_row) return progress.work(), progress.rethrow();
    executor()(loop.count, [&](int64_t index) { progress.call(index); });
  } else if (!pool().run(progress, helpers)) {
    progress.work();
  }
  progress.rethrow();
}

}  // namespace detail
}  // namespace anydraft
