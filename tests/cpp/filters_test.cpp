// The distributions of filtered rows from every instruction set beside a plain sort; under ASan and
// UBSan the kernels' reads at the ends of rows, under TSan nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "anydraft/error.h"
#include "anydraft/sampling.h"
#include "rows/kernels.h"

namespace anydraft {
namespace {

struct Filters : testing::Test {
  ~Filters() override { detail::use_kernels(nullptr); }
};

// Exactly as long as said, so that a read past the end is seen.
std::vector<float> row_of(int64_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> row;
  for (int64_t i = 0; i < size; ++i) row.push_back(normal(random));
  if (seed % 3 == 1) std::sort(row.begin(), row.end());
  if (seed % 3 == 2) {
    for (int64_t i = 0; i < size / 2; ++i) row[i] = seed % 2 ? -INFINITY : -1e30f;
  }
  row.shrink_to_fit();
  return row;
}

int64_t kept(const RowsView& rows, const SamplingParams& params) {
  std::vector<float> probs(rows.cols);
  write_probs(rows, params, probs.data());
  return std::count_if(probs.begin(), probs.end(), [](float mass) { return mass > 0; });
}

TEST_F(Filters, KeepWhatASortKeeps) {
  for (int64_t size : {1, 31, 32, 33, 4095, 4097, 9001}) {
    for (uint64_t seed = 0; seed < 6; ++seed) {
      const std::vector<float> row = row_of(size, seed);
      std::vector<float> sorted = row;
      std::sort(sorted.begin(), sorted.end(), [](float a, float b) { return a > b; });
      const RowsView rows{row.data(), DType::kFloat32, 1, size, size};
      std::vector<double> mass;
      double total = 0;
      for (float x : sorted) mass.push_back(std::exp(x - sorted[0]));
      for (double m : mass) total += m;
      double reached = 0;
      int64_t nucleus = 0;
      while (reached < 0.9 * total) reached += mass[nucleus++];
      int64_t alive = 0;  // down to 124 octaves below the largest
      while (alive < size && sorted[alive] >= sorted[0] - 85) ++alive;
      for (const detail::RowKernels* set : detail::runnable_kernels()) {
        detail::use_kernels(set);
        SCOPED_TRACE(testing::Message() << set->name << ' ' << size << ' ' << seed);
        EXPECT_EQ(kept(rows, {}), alive);
        EXPECT_EQ(kept(rows, {1, 7, 1, 0, {}}), std::min<int64_t>(7, alive));
        EXPECT_EQ(kept(rows, {1, 3000, 1, 0, {}}), std::min<int64_t>(3000, alive));
        EXPECT_EQ(kept(rows, {1, 0, 0.9, 0, {}}), nucleus);
        EXPECT_EQ(sample_row(rows, 0, {0, 0, 1, 0, {}}, 0.5),
                  std::max_element(row.begin(), row.end()) - row.begin());
      }
    }
  }
}

// Wherever it is: also behind the first chunk, whose total alone tells.
TEST_F(Filters, RefuseNan) {
  const int64_t size = 3 * 4096 + 77;
  std::mt19937_64 random(9);
  for (int turn = 0; turn < 40; ++turn) {
    std::vector<float> row = row_of(size, 3);
    for (float& x : row) x += 12;
    row[turn < 4 ? turn * 4096 : random() % size] = turn % 2 ? std::nanf("") : -std::nanf("7");
    const RowsView rows{row.data(), DType::kFloat32, 1, size, size};
    for (const detail::RowKernels* set : detail::runnable_kernels()) {
      detail::use_kernels(set);
      for (const SamplingParams& params :
           {SamplingParams{}, SamplingParams{0, 0, 1, 0, {}}, SamplingParams{1, 0, 0.9, 0, {}}}) {
        EXPECT_THROW(sample_row(rows, 0, params, 0.5), Error) << set->name << ' ' << turn;
      }
    }
  }
}

}  // namespace
}  // namespace anydraft
