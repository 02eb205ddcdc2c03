// The kernels' bodies that select and sample, on a host block, beside the CPU engine and plain
// sorts.
#include <gtest/gtest.h>

#include <array>

#include "block_case.h"
#include "block_samples.h"
#include "host_block.h"

namespace anydraft {
namespace {

using testing::Block;
using testing::Case;

TEST(BlockSampling, SamplesAsTheCpu) {
  std::mt19937_64 random(3);
  for (int64_t vocab : {1, 77, 4097, 20000}) {
    Case rows(Verifier::kTopDown, vocab, 3, 31);
    const int64_t count = rows.request.target_logits.rows;
    std::vector<DistributionParams> params;
    std::vector<double> uniforms;
    std::vector<int64_t> wanted;
    for (int64_t i = 0; i < count; ++i) {
      SamplingParams each;
      each.temperature = std::array{0.0, 0.3, 1.0, 2.0}[random() % 4];
      each.top_p = std::array{1.0, 0.9}[random() % 2];
      each.top_k = std::array{0, 40}[random() % 2];
      params.push_back(distribution_params(each));
      uniforms.push_back((static_cast<double>(random() % 1000) + 0.5) / 1000);
      wanted.push_back(sample_row(rows.request.target_logits, i, each, uniforms.back()));
    }
    CudaSampleRequest all;
    all.logits = rows.request.target_logits;
    all.params = params.data();
    all.uniforms.pick = uniforms.data();
    std::vector<int64_t> tokens(count);
    std::vector<CudaStatus> status(count);
    std::vector<RowDistribution> distributions(count);
    std::vector<detail::Part> parts(count * detail::chunks_of(vocab));
    const detail::SampleBatch batch{
        all, {tokens.data(), status.data(), distributions.data()}, parts.data()};
    testing::play_samples(batch, count);
    EXPECT_EQ(tokens, wanted);
    EXPECT_EQ(status, std::vector<CudaStatus>(count, CudaStatus::kFine));
  }
}

// The cut-off by its definition: a sorted row, whole weights.
float cutoff_by_sorting(std::vector<float> row, float lower, detail::Weigh weigh, uint64_t target) {
  std::sort(row.begin(), row.end(), std::greater<float>());
  uint64_t sum = 0;
  for (size_t i = 0; i < row.size() && row[i] >= lower; ++i) {
    sum += weigh(row[i]);
    const bool last_of_equals = i + 1 == row.size() || row[i + 1] != row[i];
    if (sum >= target && last_of_equals) return row[i];
  }
  return -INFINITY;
}

TEST(BlockSampling, SelectsExactly) {
  std::mt19937_64 random(2);
  std::normal_distribution<float> normal;
  for (int turn = 0; turn < 12; ++turn) {
    const int64_t size = 1 + static_cast<int64_t>(random() % 20000);
    std::vector<float> row;
    for (int64_t i = 0; i < size; ++i) {
      const float x = normal(random);
      row.push_back(turn % 3 == 0 ? x : turn % 3 == 1 ? std::round(8 * x) / 8 : 30 * x);
    }
    const float largest = *std::max_element(row.begin(), row.end());
    const detail::Weigh weigh{turn % 2 == 0, 1.5f, detail::power_of(largest, 1.5f).exponent};
    const float lower = detail::lowest_logit(largest, 1.5f);
    uint64_t total = 0;
    for (float x : row) total += x >= lower ? weigh(x) : 0;
    for (double share : {1e-4, 0.3, 0.95, 0.9999, 1.0, 1.1}) {
      const auto target = std::max<uint64_t>(1, static_cast<uint64_t>(share * total));
      float found = 0;
      testing::run_block(64, [&](Block& block, detail::Scratch& scratch) {
        detail::BlockOps<Block> ops(block, scratch);
        const detail::Reader<DType::kFloat32> read{row.data()};
        if (ops.thread() == 0) std::fill_n(scratch.parts, 8, detail::Part{0, largest, 0});
        ops.sync();
        detail::BlockSelect<Block, detail::Reader<DType::kFloat32>> from(ops, read, size,
                                                                         scratch.parts, weigh);
        const float mine = from.select(lower, largest, 3, target);
        if (ops.thread() == 0) found = mine;
      });
      ASSERT_EQ(found, cutoff_by_sorting(row, lower, weigh, target)) << turn << " " << share;
    }
  }
}

TEST(BlockSampling, PowersAreThoseOfTheHost) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<float> logit(-40, 40), scale(0.5f, 3);
  for (int i = 0; i < 200000; ++i) {
    const float x = logit(random), s = scale(random);
    const int32_t reference = static_cast<int32_t>(random() % 100) - 50;
    const detail::Power power = detail::power_of(x, s);
    if (power.exponent - reference < -125 || power.exponent - reference > 120) continue;
    ASSERT_EQ(detail::scaled_power(x, s, reference), detail::scaled(power, reference)) << x;
  }
}

}  // namespace
}  // namespace anydraft
