// The kernel body that draws children from a drafter's row, on a host block, beside the CPU's.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <random>

#include "anydraft/draft.h"
#include "cuda/draw.cuh"
#include "host_block.h"

namespace anydraft {
namespace {

using testing::Block;

// What one draw tells.
struct Told {
  detail::DrawStatus status;
  int32_t steps = 0, count = 0;
  double confidence = 0;
  RowDistribution weighed{}, known{};
  std::vector<int32_t> children = std::vector<int32_t>(detail::kMostChildren);
  std::vector<double> masses = std::vector<double>(detail::kMostChildren);
};

Told play(const detail::CudaDraw& draw) {
  Told told;
  const int32_t groups[] = {0, 1};
  const detail::DrawBatch batch{
      &draw,
      groups,
      {&told.status, &told.steps, &told.confidence, &told.weighed, &told.known, &told.count,
       told.children.data(), nullptr, told.masses.data()}};
  testing::run_block(64, [&](Block& block, detail::Scratch& scratch) {
    detail::draw_in_turn(block, scratch, batch, 0);
  });
  told.children.resize(told.count);
  told.masses.resize(told.count);
  return told;
}

detail::CudaDraw draw_of(const std::vector<float>& row, const SamplingParams& params,
                         ProposalKind kind, int32_t width) {
  detail::CudaDraw draw{};
  draw.row.data = row.data();
  draw.row.size = draw.own_size = draw.columns = static_cast<int64_t>(row.size());
  draw.params = distribution_params(params);
  draw.kind = kind;
  draw.width = width;
  draw.steps = 1;
  draw.budget = -1;
  draw.likelihoods = draw.confidence = true;
  return draw;
}

std::vector<float> row_of(int64_t size, std::mt19937_64& random) {
  std::normal_distribution<float> normal;
  std::vector<float> row;
  for (int64_t i = 0; i < size; ++i) {
    const bool masked = random() % 5 == 0;
    // Halves, so that there are ties.
    row.push_back(masked ? -INFINITY : std::round(6 * normal(random)) / 2);
  }
  row[random() % size] = 4;
  return row;
}

TEST(BlockDraws, AreTheCpus) {
  std::mt19937_64 random(5);
  const std::array<SamplingParams, 4> all_params{
      SamplingParams{1, 0, 1, 0, {}}, SamplingParams{0.6, 7, 0.9, 0, {}},
      SamplingParams{2, 0, 0.8, 0.02, {}}, SamplingParams{0, 0, 1, 0, {}}};
  for (int64_t size : {3, 40, 4097, 9000}) {
    for (int kind = 0; kind < static_cast<int>(ProposalKind::kSparse); ++kind) {
      for (const SamplingParams& params : all_params) {
        const std::vector<float> row = row_of(size, random);
        const auto width = static_cast<int32_t>(1 + random() % 6);
        detail::CudaDraw draw = draw_of(row, params, static_cast<ProposalKind>(kind), width);
        draw.key = {random(), 3, 17, 5, Purpose::kDraft, 0};
        DraftRow wanted;
        wanted.logits = {row.data(), DType::kFloat32, size, 0};
        std::vector<int32_t> children(width);
        children.resize(draw_children(draw.kind, wanted, params, width, draw.key, children.data()));
        std::vector<double> masses(children.size());
        likelihoods(wanted, children.data(), static_cast<int32_t>(children.size()), masses.data());
        const Told told = play(draw);
        EXPECT_EQ(told.status, detail::DrawStatus::kFine);
        EXPECT_EQ(told.children, children) << size << ' ' << kind << ' ' << params.temperature;
        EXPECT_EQ(told.masses, masses);
        EXPECT_EQ(told.confidence, confidence(wanted.logits));
        EXPECT_EQ(std::memcmp(&told.known, &*wanted.known, sizeof told.known), 0);
      }
    }
  }
}

TEST(BlockDraws, SayWhatARowIsNot) {
  const auto status_of = [](std::vector<float> row, int64_t own) {
    detail::CudaDraw draw = draw_of(row, {}, ProposalKind::kIid, 1);
    draw.row.size = draw.own_size = own;
    std::vector<detail::DrawStatus> all;
    for (bool confidence : {false, true}) {
      draw.confidence = confidence;
      all.push_back(play(draw).status);
    }
    EXPECT_EQ(all[0], all[1]);
    return all[0];
  };
  const float none = -INFINITY;
  EXPECT_EQ(status_of({1, 2, 3}, 3), detail::DrawStatus::kFine);
  EXPECT_EQ(status_of({1, NAN, 3}, 3), detail::DrawStatus::kBad);
  EXPECT_EQ(status_of({1, INFINITY, 3}, 3), detail::DrawStatus::kBad);
  EXPECT_EQ(status_of({none, none, none}, 3), detail::DrawStatus::kBad);
  EXPECT_EQ(status_of({none, none, 3}, 2), detail::DrawStatus::kNothing);  // on padding alone
  EXPECT_EQ(status_of({1, 2, NAN}, 2), detail::DrawStatus::kFine);
}

// Where temperature 1 resolves nothing, as anydraft::confidence.
TEST(BlockDraws, ConfidenceOfLargeLogits) {
  const std::vector<float> row{2.5e6f, 2.4e6f, -1e30f};
  const SamplingParams greedy{0, 0, 1, 0, {}};
  const detail::CudaDraw draw = draw_of(row, greedy, ProposalKind::kOneHot, 1);
  EXPECT_EQ(play(draw).confidence, confidence({row.data(), DType::kFloat32, 3, 0}));
}

}  // namespace
}  // namespace anydraft
