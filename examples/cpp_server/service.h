// Two models and an engine behind one thread; streams of text that other threads read.
#pragma once

#include <anydraft/decoder.h>
#include <anydraft/engine.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

struct ServiceOptions {
  std::string target, target_table, drafter, drafter_table;
  size_t most_running = 8;   // requests that share the models' calls
  size_t most_waiting = 56;  // behind them; more are refused
};

// Too many requests wait.
struct Busy : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// One request's text as it comes. The service's thread writes, one other thread reads.
class Stream {
 public:
  enum class Got { kText, kNothing, kEnd };
  // Takes the text that has come, in whole UTF-8 characters, or waits for some.
  Got read(std::string& text, std::chrono::milliseconds wait);
  // The reader has gone: the request leaves the engine.
  void cancel() { cancelled_ = true; }

  // Once read() said kEnd.
  const char* finish_reason() const { return finish_reason_; }  // null: see error()
  const std::string& error() const { return error_; }
  bool callers_fault() const { return callers_fault_; }  // what was asked for cannot be
  size_t prompt_tokens() const { return request_.prompt.size(); }
  const anydraft::Stats& stats() const { return stats_; }
  size_t tokens() const { return tokens_; }

 private:
  friend class Service;
  void write(std::string_view text);
  void end(const char* reason, const std::string& error = "", bool callers_fault = false);

  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string text_;  // not read yet
  bool ended_ = false, callers_fault_ = false;
  const char* finish_reason_ = nullptr;
  std::string error_;

  // The service's thread alone, until the end.
  anydraft::Request request_;
  anydraft::Stats stats_;
  int64_t id_ = -1;
  size_t tokens_ = 0;  // of the engine's that are written, or held
  std::string held_;   // the beginning of an unfinished character
};

struct Counts {
  size_t running, waiting;
  int64_t target_calls, requests_fed;  // by these calls: more than one a call where they share it
};

class Service {
 public:
  explicit Service(ServiceOptions options);  // throws what loading throws
  ~Service();                                // ends the streams there are
  // Whoever asks gets the stream at once; what the engine refuses is the stream's error. Throws
  // Busy, and anydraft::Error for a prompt that cannot be encoded.
  std::shared_ptr<Stream> submit(const std::string& prompt, anydraft::Request request);
  void stop();
  Counts counts() const;
  std::string description() const;

 private:
  void run();
  bool take();  // waits for work; false: stop
  void admit(const std::shared_ptr<Stream>& stream);
  void step();
  bool deliver(Stream& stream);  // false: it has ended
  void forget(Stream& stream);

  ServiceOptions options_;
  anydraft::Decoder target_, drafter_;
  std::shared_ptr<const anydraft::Vocabulary> vocabulary_;
  anydraft::Engine engine_;
  std::vector<std::shared_ptr<Stream>> running_;  // the thread's own

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Stream>> waiting_;
  Counts counts_{};
  bool stopping_ = false;
  std::thread thread_;  // the last: it uses the others
};
