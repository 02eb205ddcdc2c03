#include "decoder/products.h"

#include <algorithm>
#include <string>

#include "anydraft/error.h"
#include "anydraft/threads.h"
#include "base/parallel.h"
#include "decoder/products_kernels.h"
#include "rows/kernels.h"

namespace anydraft::detail {
namespace {

// Those of kernels(); for AVX-512 they want more than rows do.
const ProductKernels& product_kernels() {
  if (&kernels() == &portable_kernels()) return portable_product_kernels();
#if defined(__x86_64__) && defined(__GNUC__)
  if (&kernels() == &avx512_kernels() && __builtin_cpu_supports("avx512vnni")) {
    return avx512_product_kernels();
  }
#endif
  return avx2_product_kernels();
}

[[noreturn]] void refuse(const std::string& expected, int64_t got) {
  throw Error(ErrorKind::kValue, "[product] expected " + expected + ", got " + std::to_string(got));
}

constexpr int64_t kMostProducts = 8;
constexpr int64_t kPartBytes = 1 << 16;  // of weights, at least, for one thread to take
// Of rows that meet a block of weights in turn: a part of an L2.
constexpr int64_t kPassBytes = 1 << 18;

// A call's tiles and the parts that threads take: some blocks of weights, and of many rows as many
// as caches hold.
class Call {
 public:
  Call(const ProductKernels& set, const float* x, int64_t rows, int64_t x_stride,
       const Product* products, int64_t count)
      : set_(set),
        x_(x),
        rows_(rows),
        x_stride_(x_stride),
        products_(products),
        count_(count),
        inputs_(products[0].weights->inputs()),
        tiles_((rows + set.tile - 1) / set.tile) {
    int64_t words = 0, most = 0, bytes = 0;
    for (int64_t p = 0; p < count; ++p) {
      const WeightMatrix& weights = *products[p].weights;
      if (weights.inputs() != inputs_) {
        refuse("matrices of " + std::to_string(inputs_) + " inputs", weights.inputs());
      }
      words_[p] = row_words(weights.format(), inputs_);
      int64_t same = 0;  // the first that reads the same tiles
      while (kind(same) != kind(p)) ++same;
      offsets_[p] = same < p ? offsets_[same] : words;
      if (same == p) makers_[kinds_++] = p, words += rows * words_[p];
      most = std::max(most, words_[p]);
      blocks_ += weights.blocks();
      bytes += weights.bytes();
    }
    all_words_ = words;
    pass_ = std::min(std::max<int64_t>(1, kPassBytes / (most * 4 * set.tile)), tiles_);
    parts_ = std::min({blocks_, bytes * pass_ / kPartBytes, int64_t{threads()} * 16});
    parts_ = std::max<int64_t>(parts_, 1);
  }

  void run(Tiles& tiles) {
    tiles.resize(std::max(tiles.size(), static_cast<size_t>(all_words_)));
    words_at_ = tiles.data();
    const auto make = [&](int64_t index) { make_tile(index); };
    parallel_for(tiles_ * kinds_, make, tiles_ > 1 ? kWorthWaking : 0);
    parallel_for((tiles_ + pass_ - 1) / pass_ * parts_, [&](int64_t index) { multiply(index); });
  }

 private:
  int kind(int64_t p) const { return tile_kind(products_[p].weights->format()); }
  int tile_rows(int64_t t) const {
    return static_cast<int>(std::min<int64_t>(set_.tile, rows_ - t * set_.tile));
  }
  uint32_t* tile(int64_t p, int64_t t) const {
    return words_at_ + offsets_[p] + t * set_.tile * words_[p];
  }

  void make_tile(int64_t index) const {
    const int64_t t = index % tiles_, p = makers_[index / tiles_];
    set_.make_tile[static_cast<int>(products_[p].weights->format())](
        x_ + t * set_.tile * x_stride_, x_stride_, tile_rows(t), inputs_, tile(p, t));
  }

  void multiply(int64_t index) const {
    const int64_t pass = index / parts_, part = index % parts_;
    int64_t begin = blocks_ * part / parts_, end = blocks_ * (part + 1) / parts_;
    for (int64_t p = 0; p < count_; ++p) {
      const int64_t here = products_[p].weights->blocks();
      for (int64_t b = std::max<int64_t>(begin, 0); b < std::min(end, here); ++b) {
        multiply_block(p, b, pass * pass_, std::min((pass + 1) * pass_, tiles_));
      }
      begin -= here;
      end -= here;
    }
  }

  void multiply_block(int64_t p, int64_t block, int64_t first_tile, int64_t end_tile) const {
    const Product& product = products_[p];
    const WeightMatrix& weights = *product.weights;
    const int64_t first = block * kBlockOutputs;
    const int64_t outputs = std::min<int64_t>(kBlockOutputs, weights.outputs() - first);
    const bool whole = outputs == kBlockOutputs;  // else through `part`
    float part[kMostTile * kBlockOutputs];
    for (int64_t t = first_tile; t < end_tile; ++t) {
      const int rows = tile_rows(t);
      float* const y = product.y + t * set_.tile * product.y_stride + first;
      set_.multiply[static_cast<int>(weights.format())][rows - 1](
          weights.block(block), inputs_, tile(p, t), whole ? y : part,
          whole ? product.y_stride : kBlockOutputs);
      for (int i = 0; i < rows; ++i) {
        float* const row = y + i * product.y_stride;
        if (!whole) std::copy_n(part + i * kBlockOutputs, outputs, row);
        for (int64_t o = 0; product.bias && o < outputs; ++o) row[o] += product.bias[first + o];
      }
    }
  }

  const ProductKernels& set_;
  const float* x_;
  int64_t rows_, x_stride_;
  const Product* products_;
  int64_t count_, inputs_, tiles_;
  int64_t words_[kMostProducts], offsets_[kMostProducts];  // of a row; of a product's tiles
  int64_t makers_[kMostProducts], kinds_ = 0;  // the first product of each kind of tiles
  int64_t blocks_ = 0, all_words_ = 0;
  int64_t pass_ = 1, parts_ = 1;  // tiles of a pass; parts of the blocks
  uint32_t* words_at_ = nullptr;
};

}  // namespace

void product(Tiles& tiles, const float* x, int64_t rows, int64_t x_stride, const Product* products,
             int64_t count) {
  if (rows < 0) refuse("rows >= 0", rows);
  if (count < 0 || count > kMostProducts) refuse("0 to 8 products", count);
  if (rows == 0 || count == 0) return;
  Call(product_kernels(), x, rows, x_stride, products, count).run(tiles);
}

}  // namespace anydraft::detail
