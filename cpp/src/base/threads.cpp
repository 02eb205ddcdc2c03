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

// A thread looks again and again for as long before it sleeps: about what Python takes between a
// model's call and the next rows.
constexpr std::chrono::microseconds kPatience{300};

// Whether `ready` becomes true soon; `rest` comes between two looks.
template <class Ready, class Rest>
bool soon(Ready ready, Rest rest) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  do {
    if (ready()) return true;
    rest();
  } while (std::chrono::steady_clock::now() < until);
  return false;
}

void rest_a_little() {
#if defined(__x86_64__) && defined(__GNUC__)
  for (int i = 0; i < 16; ++i) __builtin_ia32_pause();
#endif
}

// Sleeping threads that join one loop at a time. Never destroyed: its threads may outlive main.
class Pool {
 public:
  // False where the pool is at work for another caller (or for this one, in a nested call).
  bool run(Progress& progress, int helpers) {
    if (busy_.exchange(true)) return false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      start(helpers);
      progress_ = &progress;
      places_ = std::min(helpers, workers_);
    }
    for (int i = 0; i < helpers; ++i) wake_.notify_one();
    progress.work();
    close();
    busy_.store(false);
    return true;
  }

 private:
  // Until those who joined the loop have left it; who wakes up late need not come.
  void close() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      places_ = 0;
    }
    const auto left = [this] { return joined_ == 0; };
    if (soon(left, rest_a_little)) return;
    std::unique_lock<std::mutex> lock(mutex_);
    idle_.wait(lock, left);
  }

  // With all signals blocked, so that they go to the threads of the program.
  void start(int helpers) {
    if (workers_ >= helpers) return;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      for (; workers_ < helpers; ++workers_) std::thread([this] { serve(); }).detach();
    } catch (...) {
      // No more threads to be had: those there are do the work.
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void serve() {
    const auto wanted = [this] { return places_ > 0; };
    for (;;) {
      soon(wanted, std::this_thread::yield);  // its CPU is another's who wants it
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, wanted);
      --places_;
      ++joined_;
      Progress& progress = *progress_;
      lock.unlock();
      progress.work();
      lock.lock();
      if (--joined_ == 0) idle_.notify_one();
    }
  }

  std::atomic<bool> busy_{false};
  std::mutex mutex_;  // guards what follows, but for looking at the atomic ones
  std::condition_variable wake_, idle_;
  Progress* progress_ = nullptr;
  int workers_ = 0;
  std::atomic<int> places_{0};  // how many may still join the loop
  std::atomic<int> joined_{0};
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

void set_threads(int64_t count) {
  if (count < 0 || count > kMostThreads) {
    throw Error(ErrorKind::kValue, "[set_threads] expected a count in [0, " +
                                       std::to_string(kMostThreads) +
                                       "] (0: one for each CPU), got " + std::to_string(count));
  }
  wanted_threads.store(static_cast<int>(count));
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
