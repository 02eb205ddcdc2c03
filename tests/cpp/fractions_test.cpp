// The masses kept while a row is read, and sums over them, from every instruction set.
#include "rows/fractions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "anydraft/sampling.h"
#include "rows/kernels.h"
#include "rows/picks.h"
#include "rows/sweeps.h"

namespace anydraft {
namespace {

struct Fractions : testing::Test {
  ~Fractions() override { detail::use_kernels(nullptr); }
};

// Chunk after chunk larger, or smaller: what was kept of the first is relative to something else.
std::vector<float> row_of(int64_t size, float step, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> row;
  for (int64_t i = 0; i < size; ++i) {
    row.push_back(normal(random) + step * static_cast<float>(i / detail::kChunk));
  }
  row.shrink_to_fit();  // a read past the end is seen
  return row;
}

TEST_F(Fractions, AreTheMassesToTheBit) {
  const SamplingParams sets[] = {{},
                                 {0.3, 0, 1, 0, {}},
                                 {1, 40, 1, 0, {}},
                                 {1, 0, 0.9, 0, {}},
                                 {1, 0, 1, 0.01, {}},
                                 {0, 0, 1, 0, {}}};
  for (const detail::RowKernels* set : detail::runnable_kernels()) {
    detail::use_kernels(set);
    for (float step : {0.0f, 7.0f, 60.0f, 1000.0f, -7.0f}) {
      const std::vector<float> row = row_of(12345, step, 1);
      const RowsView rows{row.data(), DType::kFloat32, 1, 12345, 12345};
      for (const SamplingParams& params : sets) {
        detail::Fractions kept;
        const detail::Distribution distribution =
            make_distribution(rows, 0, params, nullptr, &kept);
        for (int64_t i = 0; i < rows.cols; ++i) {
          const int64_t chunk = i / detail::kChunk;
          const float fraction = kept.from(chunk * detail::kChunk)[i % detail::kChunk];
          ASSERT_EQ(fraction * kept.scales[chunk], detail::mass(distribution, i))
              << set->name << " step " << step << " entry " << i;
        }
      }
    }
  }
}

TEST_F(Fractions, AddUpAsEntriesDo) {
  const int64_t size = 4097 + 77;
  const std::vector<float> target = row_of(size, 3, 2), draft = row_of(size, 0, 3);
  const RowsView target_rows{target.data(), DType::kFloat32, 1, size, size},
      draft_rows{draft.data(), DType::kFloat32, 1, size, size};
  for (const detail::RowKernels* set : detail::runnable_kernels()) {
    detail::use_kernels(set);
    detail::Fractions left, right;
    make_distribution(target_rows, 0, {}, nullptr, &left);
    make_distribution(draft_rows, 0, {}, nullptr, &right);
    for (int64_t chunk = 0; chunk < 2; ++chunk) {
      const int64_t begin = chunk * detail::kChunk, count = chunk ? size - begin : detail::kChunk;
      const detail::Pair pair{left.of.data() + begin, right.of.data() + begin, left.scales[chunk],
                              right.scales[chunk]};
      std::vector<double> terms(count), residuals(count), overlaps;
      for (int64_t i = 0; i < count; ++i) {
        const double kept = 0.9 * pair.target_scale * pair.target[i];
        const double rest = std::fma(-0.7 * pair.draft_scale, double{pair.draft[i]}, kept);
        residuals[i] = rest > 0 ? rest : 0;
        const double most = 0.8 * (pair.target[i] * pair.target_scale);
        overlaps.push_back(std::min(pair.draft[i] * pair.draft_scale, most));
      }
      detail::sweeps().residual(pair, count, 0.9, 0.7, terms.data());
      EXPECT_EQ(terms, residuals) << set->name;
      EXPECT_EQ(detail::sweeps().residual_sum(pair, count, 0.9, 0.7),
                detail::fold(residuals.data(), count));
      EXPECT_EQ(detail::sweeps().overlap(pair, count, 0.8), detail::fold(overlaps.data(), count));
    }
  }
}

}  // namespace
}  // namespace anydraft
