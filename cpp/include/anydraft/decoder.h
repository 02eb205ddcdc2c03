// Transformer decoders on a CPU: a GGUF file, or a folder of safetensors, as a model of sessions.
//
//   Decoder model("model.gguf");
//   Logits logits = model.forward(work.feeds);
//   engine.feed(work, logits.rows(), logits.numbers());
//
// Families: Llama, SmolLM2 and 3, Mistral, Qwen2, Qwen2.5, Qwen3, Gemma 3, Phi-3. The bits of a
// token's logits depend on the weights and on the tokens before it in its text, and on nothing
// else: not on the rows and requests beside it, on how the text was fed, on threads, or on the
// instruction set. (Weights of integers: a token's activations are rounded to 8 bits.)
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "anydraft/drafter.h"
#include "anydraft/rows_view.h"

namespace anydraft {

// What the weights of a safetensors folder become. GGUF files are taken as they are, exactly.
enum class DecoderWeights : int32_t {
  kDefault,  // float16 as it is, bfloat16 and float32 as bfloat16
  kFloat32,  // exact
  kBFloat16,
  kInt8,  // rounded, one scale for each output
  kInt4,  // rounded in groups of 64 inputs
};

struct DecoderOptions {
  DecoderWeights weights = DecoderWeights::kDefault;
  DType cache = DType::kFloat32;  // of keys and values; or kBFloat16
};

// float32 rows that stay as they are as long as this or a copy of it lives, whatever is called.
class Logits {
 public:
  Logits() = default;
  Logits(std::shared_ptr<const float[]> numbers, int64_t rows, int64_t vocab)
      : numbers_(std::move(numbers)), rows_{numbers_.get(), DType::kFloat32, rows, vocab, vocab} {}
  const RowsView& rows() const { return rows_; }
  const std::shared_ptr<const float[]>& numbers() const { return numbers_; }

 private:
  std::shared_ptr<const float[]> numbers_;
  RowsView rows_;
};

// For one thread at a time. A pass runs on the threads of anydraft/threads.h.
class Decoder {
 public:
  // Throws Error(kValue) for files that are damaged, or an architecture, a type or a part that is
  // not supported, by name.
  explicit Decoder(const std::string& path, const DecoderOptions& options = {});
  ~Decoder();
  Decoder(Decoder&&) noexcept;
  Decoder& operator=(Decoder&&) noexcept;

  int64_t vocab_size() const;
  int64_t context_length() const;  // in tokens; later positions are refused
  // Ids that end a text, as the files say. Where a GGUF file names an end of texts alone, the ends
  // of chat turns among its tokens too, which go by their texts.
  const std::vector<int32_t>& stop_tokens() const;
  std::string description() const;  // one line: architecture, weights, bytes a step reads
  // Of keys and values for a token of a text. They are taken in pages of 64 tokens.
  int64_t cache_bytes_per_token() const;
  int64_t cached_requests() const;  // those that have a cache

  // One feed a request; a cache begins empty. Returns the rows of all feeds, in order: [sum of
  // rows, vocab]. Throws Error(kValue) for feeds that do not fit the caches, which stay as they are
  // then. Where a pass itself fails, say for want of memory, the caches of its feeds are cut to
  // the slots they keep that lie in the text's order: Engine::failed() goes on from there.
  Logits forward(const std::vector<Feed>& feeds);
  void forget(int64_t request);  // one that is not known is no error

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace anydraft
