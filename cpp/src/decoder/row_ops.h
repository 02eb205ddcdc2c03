// What a decoder's pass does to rows beside its products, once per instruction set. Every sum runs
// in an order that depends on its own length alone, so the bits depend on nothing else.
#pragma once

#include <cstdint>

namespace anydraft::detail {

constexpr int64_t kPageSlots = 64;

// Rounded up to whole lines of 16 floats.
constexpr int64_t padded(int64_t size) { return (size + 15) / 16 * 16; }

struct RowOps {
  // out = x / sqrt(mean(x^2) + epsilon) * weight; out may be x.
  void (*rms_norm)(const float* x, const float* weight, int64_t size, float epsilon, float* out);
  // Turns entries i and half + i of a head.
  void (*rotate)(float* head, const float* cosines, const float* sines, int64_t half);
  // gate = SiLU or GELU (tanh) of gate, times up.
  void (*gate)(float* gate, const float* up, int64_t size, bool gelu);
  void (*add)(float* to, const float* x, int64_t size);

  // scores and weigh are of caches of float32 and of bfloat16, [0] and [1].
  // Products of queries [heads][padded(size)] with the keys [size][kPageSlots] of a page, to
  // out [heads][stride].
  void (*scores[2])(const float* queries, int64_t heads, int64_t size, const void* keys, float* out,
                    int64_t stride);
  // scores[i] = 2^(scale * (score - the largest)); returns their sum. Writes up to 15 zeros behind
  // them.
  float (*exponentials)(float* scores, int64_t count, float scale);
  // sums[heads][size] += weights[heads][stride] times values [count][size], one after another. The
  // size is a multiple of 16.
  void (*weigh[2])(const float* weights, int64_t stride, int64_t heads, const void* values,
                   int64_t count, int64_t size, float* sums);
};

const RowOps& row_ops();  // those of kernels() (rows/kernels.h)

}  // namespace anydraft::detail
