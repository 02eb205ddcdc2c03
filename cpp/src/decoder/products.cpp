#include "decoder/products.h"

#include <algorithm>
#include <atomic>
#include <string>

#include "anydraft/error.h"
#include "anydraft/threads.h"
#include "decoder/products_kernels.h"

namespace anydraft::detail {
namespace {

const ProductKernels* best() {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vnni")) {
    return &avx512_product_kernels();
  }
  if (avx2) return &avx2_product_kernels();
#endif
  return &portable_product_kernels();
}

std::atomic<const ProductKernels*>& chosen() {
  static std::atomic<const ProductKernels*> kernels{best()};
  return kernels;
}

constexpr int64_t kPartBytes = 1 << 16;  // of weights, at least, for one thread to take
constexpr int64_t kPassBytes = 1 << 22;  // of rows that blocks of weights go through in turn

// All products of a call: who reads which tiles, and the parts that threads take.
struct Call {
  const ProductKernels& set;
  const Product* products;
  int64_t count, rows, inputs;

  int64_t tiles() const { return (rows + set.tile - 1) / set.tile; }
  int tile_rows(int64_t tile) const {
    return static_cast<int>(std::min<int64_t>(set.tile, rows - tile * set.tile));
  }
  int64_t words(int64_t product) const {
    return row_words(products[product].weights->format(), inputs);
  }
  int kind(int64_t product) const { return tile_kind(products[product].weights->format()); }
};

void check(const Call& call) {
  if (call.rows < 0) {
    throw Error(ErrorKind::kValue,
                "[product] expected rows >= 0, got " + std::to_string(call.rows));
  }
  for (int64_t p = 0; p < call.count; ++p) {
    if (call.products[p].weights->inputs() != call.inputs) {
      throw Error(ErrorKind::kValue, "[product] expected matrices of " +
                                         std::to_string(call.inputs) + " inputs, got " +
                                         std::to_string(call.products[p].weights->inputs()));
    }
  }
}

// Multiplies one block with some of the tiles and writes its outputs.
void multiply_block(const Call& call, const Product& product, const uint32_t* rows_at,
                    int64_t block, int64_t first_tile, int64_t end_tile) {
  const WeightMatrix& weights = *product.weights;
  const int64_t words = row_words(weights.format(), call.inputs), first = block * kBlockOutputs;
  const int outputs = static_cast<int>(std::min<int64_t>(kBlockOutputs, weights.outputs() - first));
  float bias[kBlockOutputs] = {}, out[kMostTile * kBlockOutputs];
  if (product.bias) std::copy_n(product.bias + first, outputs, bias);
  for (int64_t t = first_tile; t < end_tile; ++t) {
    const int rows = call.tile_rows(t);
    call.set.multiply[static_cast<int>(weights.format())][rows - 1](
        weights.block(block), call.inputs, rows_at + t * call.set.tile * words, out);
    for (int i = 0; i < rows; ++i) {
      float* y = product.y + (t * call.set.tile + i) * product.y_stride + first;
      for (int o = 0; o < outputs; ++o) y[o] = out[i * kBlockOutputs + o] + bias[o];
    }
  }
}

}  // namespace

const char* name_of(const ProductKernels* set) { return set->name; }

std::vector<const ProductKernels*> runnable_product_kernels() {
  std::vector<const ProductKernels*> all;
  for (const ProductKernels* set :
       {&portable_product_kernels(), &avx2_product_kernels(), &avx512_product_kernels()}) {
    if (all.empty() || set != all.front()) all.push_back(set);
    if (set == best()) break;
  }
  return all;
}

void use_product_kernels(const ProductKernels* set) { chosen().store(set ? set : best()); }

void product(Team& team, const float* x, int64_t rows, int64_t x_stride, const Product* products,
             int64_t count) {
  if (count == 0) return;
  const Call call{*chosen().load(std::memory_order_relaxed), products, count, rows,
                  products[0].weights->inputs()};
  check(call);
  if (rows == 0) return;

  // Rows in each kind of tiles that is asked for.
  std::vector<int64_t> offsets(static_cast<size_t>(count));
  int64_t total_words = 0, blocks = 0, bytes = 0, most_words = 0;
  std::vector<int64_t> makers;
  for (int64_t p = 0; p < count; ++p) {
    int64_t same = 0;
    while (call.kind(same) != call.kind(p)) ++same;
    if (same == p) {
      offsets[static_cast<size_t>(p)] = total_words;
      total_words += rows * call.words(p);
      makers.push_back(p);
    } else {
      offsets[static_cast<size_t>(p)] = offsets[static_cast<size_t>(same)];
    }
    most_words = std::max(most_words, call.words(p));
    blocks += products[p].weights->blocks();
    bytes += products[p].weights->bytes();
  }
  std::vector<float>& scratch = team.scratch();
  if (static_cast<int64_t>(scratch.size()) < total_words)
    scratch.resize(static_cast<size_t>(total_words));
  uint32_t* const tiles = reinterpret_cast<uint32_t*>(scratch.data());
  const auto make = [&](int64_t index) {
    const int64_t tile = index % call.tiles(),
                  p = makers[static_cast<size_t>(index / call.tiles())];
    call.set.make_tile(
        products[p].weights->format(), x + tile * call.set.tile * x_stride, x_stride,
        call.tile_rows(tile), call.inputs,
        tiles + offsets[static_cast<size_t>(p)] + tile * call.set.tile * call.words(p));
  };
  const int64_t to_make = call.tiles() * static_cast<int64_t>(makers.size());
  if (call.tiles() > 1) {
    team.run(to_make, make);
  } else {
    for (int64_t i = 0; i < to_make; ++i) make(i);
  }

  // Threads take parts in order: some blocks, and of many rows those that caches hold.
  const int64_t pass_tiles = std::max<int64_t>(1, kPassBytes / (most_words * 4 * call.set.tile));
  const int64_t passes = (call.tiles() + pass_tiles - 1) / pass_tiles;
  const int64_t parts = std::max<int64_t>(
      1, std::min({blocks, bytes * std::min(call.tiles(), pass_tiles) / kPartBytes,
                   int64_t{threads()} * 16}));
  team.run(passes * parts, [&](int64_t index) {
    const int64_t pass = index / parts, part = index % parts;
    const int64_t begin = blocks * part / parts, end = blocks * (part + 1) / parts;
    int64_t first = 0;
    for (int64_t p = 0; p < count; ++p) {
      const int64_t here = products[p].weights->blocks();
      for (int64_t b = std::max(begin, first); b < std::min(end, first + here); ++b) {
        multiply_block(call, products[p], tiles + offsets[static_cast<size_t>(p)], b - first,
                       pass * pass_tiles, std::min((pass + 1) * pass_tiles, call.tiles()));
      }
      first += here;
    }
  });
}

}  // namespace anydraft::detail
