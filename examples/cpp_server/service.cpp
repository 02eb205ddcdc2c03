#include "service.h"

#include <anydraft/error.h>
#include <anydraft/vocabulary_file.h>

#include <algorithm>

using anydraft::Finish;

Stream::Got Stream::read(std::string& text, std::chrono::milliseconds wait) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, wait, [&] { return !text_.empty() || ended_; });
  text.clear();
  text.swap(text_);
  return !text.empty() ? Got::kText : ended_ ? Got::kEnd : Got::kNothing;
}

void Stream::write(std::string_view text) {
  if (text.empty()) return;
  const std::lock_guard lock(mutex_);
  text_ += text;
  changed_.notify_one();
}

void Stream::end(const char* reason, const std::string& error, bool callers_fault) {
  const std::lock_guard lock(mutex_);
  finish_reason_ = reason;
  error_ = error;
  callers_fault_ = callers_fault;
  ended_ = true;
  changed_.notify_one();
}

static std::shared_ptr<const anydraft::Vocabulary> vocabulary_of(const std::string& table) {
  return std::make_shared<const anydraft::Vocabulary>(anydraft::read_vocabulary(table));
}

// What ends a text where the model's own files do not say it.
static anydraft::TokenIds end_tokens(const anydraft::Vocabulary& vocabulary) {
  anydraft::TokenIds ids = vocabulary.role("end");
  if (!ids.empty()) return ids;
  ids = vocabulary.role("eos");
  for (int32_t token : vocabulary.role("turn_end")) ids.push_back(token);
  return ids;
}

static anydraft::EngineOptions engine_options(const anydraft::Decoder& target,
                                              const anydraft::Decoder& drafter) {
  anydraft::EngineOptions options;
  options.bridge = anydraft::Bridge::kSlem;  // the vocabularies may differ
  options.draft_length = 8;
  options.draft_confidence = 0.4;
  options.target_context = target.context_length();
  options.draft_context = drafter.context_length();
  return options;
}

Service::Service(ServiceOptions options)
    : options_(std::move(options)),
      target_(options_.target),
      drafter_(options_.drafter),
      vocabulary_(vocabulary_of(options_.target_table)),
      engine_(vocabulary_, vocabulary_of(options_.drafter_table),
              engine_options(target_, drafter_)),
      thread_([this] { run(); }) {}

Service::~Service() {
  stop();
  thread_.join();
}

void Service::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  changed_.notify_one();
}

std::shared_ptr<Stream> Service::submit(const std::string& prompt, anydraft::Request request) {
  request.prompt = vocabulary_->prefix();  // BOS, where the model wants one
  for (int32_t token : vocabulary_->encode_as_owner(prompt, false)) request.prompt.push_back(token);
  request.stop = target_.stop_tokens();
  if (request.stop.empty()) request.stop = end_tokens(*vocabulary_);
  auto stream = std::make_shared<Stream>();
  stream->request_ = std::move(request);
  const std::lock_guard lock(mutex_);
  if (stopping_) throw Busy("the server is stopping");
  if (waiting_.size() >= options_.most_waiting) {
    throw Busy("expected at most " + std::to_string(options_.most_waiting) + " waiting requests");
  }
  waiting_.push_back(stream);
  changed_.notify_one();
  return stream;
}

Counts Service::counts() const {
  const std::lock_guard lock(mutex_);
  Counts counts = counts_;
  counts.waiting = waiting_.size();
  return counts;
}

std::string Service::description() const {
  return target_.description() + " <- " + drafter_.description();
}

void Service::run() {
  while (take()) {
    try {
      step();
    } catch (const std::exception& error) {  // a model failed: nothing is known of its caches
      for (const auto& stream : running_) {
        stream->end(nullptr, error.what());
        forget(*stream);
      }
      running_.clear();
    }
  }
  for (const auto& stream : running_) stream->end(nullptr, "the server is stopping");
  for (const auto& stream : waiting_) stream->end(nullptr, "the server is stopping");
}

bool Service::take() {
  std::unique_lock lock(mutex_);
  counts_.running = running_.size();
  changed_.wait(lock, [&] { return stopping_ || !waiting_.empty() || !running_.empty(); });
  if (stopping_) return false;
  while (!waiting_.empty() && running_.size() < options_.most_running) {
    const auto stream = waiting_.front();
    waiting_.pop_front();
    admit(stream);
  }
  counts_.running = running_.size();
  return true;
}

void Service::admit(const std::shared_ptr<Stream>& stream) {
  if (stream->cancelled_) return stream->end("cancelled");
  try {
    stream->id_ = engine_.add(stream->request_);
    running_.push_back(stream);
  } catch (const anydraft::Error& error) {
    stream->end(nullptr, error.what(), error.kind() == anydraft::ErrorKind::kValue);
  }
}

void Service::step() {
  for (const auto& stream : running_) {
    if (stream->cancelled_) engine_.cancel(stream->id_);
  }
  const anydraft::Work work = engine_.next();  // for all requests at once
  if (work.model != anydraft::ModelRole::kIdle) {
    const bool of_target = work.model == anydraft::ModelRole::kTarget;
    const anydraft::Logits logits = (of_target ? target_ : drafter_).forward(work.feeds);
    engine_.feed(work, logits.rows(), logits.numbers());
    const std::lock_guard lock(mutex_);
    counts_.target_calls += of_target;
    counts_.requests_fed += of_target ? static_cast<int64_t>(work.feeds.size()) : 0;
  }
  const auto ended = [&](const auto& stream) { return !deliver(*stream); };
  running_.erase(std::remove_if(running_.begin(), running_.end(), ended), running_.end());
}

bool Service::deliver(Stream& stream) {
  const auto& emitted = engine_.emitted(stream.id_);
  const Finish finish = engine_.finish(stream.id_);
  anydraft::TokenIds fresh;
  for (; stream.tokens_ < emitted.size(); ++stream.tokens_) {
    fresh.push_back(emitted[stream.tokens_].token);
  }
  stream.held_ += vocabulary_->decode(fresh);
  const bool going = finish == Finish::kNot;
  const size_t whole = going ? anydraft::complete_utf8(stream.held_) : stream.held_.size();
  stream.write(std::string_view(stream.held_).substr(0, whole));
  stream.held_.erase(0, whole);
  if (going) return true;

  stream.stats_ = engine_.stats(stream.id_);
  {  // before its reader hears of the end
    const std::lock_guard lock(mutex_);
    --counts_.running;
  }
  try {
    engine_.check(stream.id_);
    stream.end(finish == Finish::kStop        ? "stop"
               : finish == Finish::kCancelled ? "cancelled"
                                              : "length");
  } catch (const std::exception& error) {
    stream.end(nullptr, error.what());
  }
  forget(stream);
  return false;
}

void Service::forget(Stream& stream) {
  target_.forget(stream.id_);  // the names of the two caches
  drafter_.forget(stream.id_ + 1);
  engine_.forget(stream.id_);
}
