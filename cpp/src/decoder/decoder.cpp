#include "anydraft/decoder.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>
#include <unordered_map>

#include "decoder/pass.h"

namespace anydraft {
namespace {

using namespace detail;

CacheShape shape_of(const DecoderConfig& config, DType cache) {
  if (cache == DType::kFloat16) fail("a float32 or bfloat16 cache");
  return {config.layers, config.kv_heads, config.head_size, cache == DType::kBFloat16};
}

// Rows of logits that nobody holds any more are used again.
class LogitsStore {
 public:
  std::shared_ptr<float[]> take(size_t count) {
    for (Kept& kept : kept_) {
      if (kept.numbers.use_count() != 1 || kept.count < count) continue;
      std::atomic_thread_fence(std::memory_order_acquire);  // another thread may have read them
      return kept.numbers;
    }
    const auto idle = [](const Kept& kept) { return kept.numbers.use_count() == 1; };
    kept_.erase(std::remove_if(kept_.begin(), kept_.end(), idle), kept_.end());  // all too small
    kept_.push_back({std::shared_ptr<float[]>(new float[count]), count});
    return kept_.back().numbers;
  }

 private:
  struct Kept {
    std::shared_ptr<float[]> numbers;
    size_t count;
  };
  std::vector<Kept> kept_;
};

std::string megabytes(double bytes) {
  char text[64];
  std::snprintf(text, sizeof text, " %.0f MB", bytes * 1e-6);
  return text;
}

std::string formats_of(const Weights& weights) {
  std::map<std::string, int64_t> bytes;
  weights.each_of_step(
      [&](const WeightMatrix& part) { bytes[name_of(part.format())] += part.bytes(); });
  std::string text;
  for (const auto& [name, size] : bytes) {
    text += (text.empty() ? "" : ", ") + name + megabytes(static_cast<double>(size));
  }
  return text;
}

// What the choices for a folder's weights would cost: bits a weight of each.
std::string choices_of(const Weights& weights) {
  const std::pair<const char*, double> kChoices[] = {
      {"float32 (exact)", 32}, {"bfloat16", 16}, {"int8 (rounded)", 8}, {"int4 (rounded)", 4.5}};
  std::string text;
  for (const auto& [name, bits] : kChoices) {
    text += (text.empty() ? "; weights as " : ", ") + std::string(name) +
            megabytes(static_cast<double>(weights.step_weights()) * bits / 8);
  }
  return text;
}

}  // namespace

struct Decoder::Parts {
  Parts(const std::string& path, const DecoderOptions& options)
      : weights(load_weights(path, options.weights)),
        choices(weights.of_folder ? choices_of(weights) : ""),
        store(shape_of(weights.config, options.cache)),
        pass(weights) {}

  void check(const std::vector<Feed>& feeds);
  void run(const std::vector<Feed>& feeds, float* out);
  void undo(const Feed& feed);
  void add_rows(const Feed& feed, RequestCache& cache);

  Weights weights;
  std::string choices;
  PageStore store;
  Pass pass;
  LogitsStore logits;
  std::unordered_map<int64_t, RequestCache> caches;
  std::vector<PassRow> rows;  // these keep their memory
  std::vector<int32_t> extras;
  std::vector<int64_t> requests;
  int64_t wanted = 0;
};

Decoder::Decoder(const std::string& path, const DecoderOptions& options)
    : parts_(std::make_unique<Parts>(path, options)) {}
Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;

int64_t Decoder::vocab_size() const { return parts_->weights.head().outputs; }
int64_t Decoder::context_length() const { return parts_->weights.config.context; }
const std::vector<int32_t>& Decoder::stop_tokens() const {
  return parts_->weights.config.stop_tokens;
}
int64_t Decoder::cache_bytes_per_token() const { return parts_->store.bytes_per_slot(); }
int64_t Decoder::cached_requests() const { return static_cast<int64_t>(parts_->caches.size()); }

std::string Decoder::description() const {
  const char* const cache = parts_->store.shape().half ? "bfloat16" : "float32";
  return parts_->weights.config.architecture +
         ", weights a step reads: " + formats_of(parts_->weights) + "; " + cache + " cache" +
         parts_->choices;
}

// Before anything changes.
void Decoder::Parts::check(const std::vector<Feed>& feeds) {
  static const RequestCache kEmpty;
  requests.clear();
  const int64_t vocabulary = weights.embedding.outputs, context = weights.config.context;
  for (const Feed& feed : feeds) {
    const auto known = caches.find(feed.request);
    (known == caches.end() ? kEmpty : known->second).check(feed);
    for (const int32_t token : feed.tokens) {
      if (token < 0 || token >= vocabulary) {
        fail("tokens below " + std::to_string(vocabulary) + ", got " + std::to_string(token));
      }
    }
    for (const int32_t position : feed.positions) {
      if (position >= context) {
        fail("positions below the context length " + std::to_string(context) + ", got " +
             std::to_string(position));
      }
    }
    requests.push_back(feed.request);
  }
  std::sort(requests.begin(), requests.end());
  if (std::adjacent_find(requests.begin(), requests.end()) != requests.end()) {
    fail("one feed a request, got several of one");
  }
}

void Decoder::Parts::add_rows(const Feed& feed, RequestCache& cache) {
  const auto count = static_cast<int64_t>(feed.tokens.size());
  const int64_t kept = cache.size() - count;
  for (int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<size_t>(i);
    PassRow row{&cache, feed.tokens[at], kept + i, feed.positions[at], 0, extras.size(), 0, -1};
    row.prefix = cache.visible(row.slot, extras);
    row.extras_end = extras.size();
    if (i >= count - feed.rows) row.logits = wanted++;
    rows.push_back(row);
  }
}

Logits Decoder::forward(const std::vector<Feed>& feeds) {
  Parts& parts = *parts_;
  parts.check(feeds);
  int64_t wanted = 0;
  for (const Feed& feed : feeds) wanted += feed.rows;
  const int64_t vocab = vocab_size();
  std::shared_ptr<float[]> numbers =
      parts.logits.take(static_cast<size_t>(std::max<int64_t>(wanted, 1) * vocab));
  try {
    parts.run(feeds, numbers.get());
  } catch (...) {  // caches would claim tokens that were not computed
    for (const Feed& feed : feeds) parts.undo(feed);
    throw;
  }
  return {std::move(numbers), wanted, vocab};
}

void Decoder::Parts::run(const std::vector<Feed>& feeds, float* out) {
  rows.clear();
  extras.clear();
  wanted = 0;
  for (const Feed& feed : feeds) {
    RequestCache& cache = caches[feed.request];
    cache.take(feed, store);
    add_rows(feed, cache);
  }
  pass.run(rows, extras, store, out);
}

void Decoder::Parts::undo(const Feed& feed) {
  const auto known = caches.find(feed.request);
  if (known == caches.end()) return;
  known->second.cut(feed.keep, store);
  if (known->second.size() == 0) caches.erase(known);
}

void Decoder::forget(int64_t request) {
  const auto known = parts_->caches.find(request);
  if (known == parts_->caches.end()) return;
  known->second.cut(0, parts_->store);
  parts_->caches.erase(known);
}

}  // namespace anydraft
