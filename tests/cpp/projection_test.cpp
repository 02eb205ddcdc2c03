// A drafter's rows read through a map by kernels' bodies: the distributions, to the bit, and the
// tokens of the rows that the bridges write out on the CPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <random>

#include "anydraft/error.h"
#include "anydraft/verify.h"
#include "block_plays.h"
#include "block_samples.h"
#include "bridged.h"

namespace anydraft {
namespace {

using testing::Block;

using testing::Bridged;
using testing::known;
using testing::several_params;

// What sample_cuda_async gives, by host blocks.
struct Drawn {
  std::vector<int64_t> tokens;
  std::vector<int32_t> drafter_ids;
  std::vector<RowDistribution> distributions;
  std::vector<TriePlace> places;
};
Drawn draw(CudaSampleRequest all, const SamplingParams& params, const std::vector<double>& uniforms,
           bool with_places = false) {
  const int64_t count = all.logits.rows;
  const std::vector<DistributionParams> each(count, distribution_params(params));
  all.params = each.data();
  all.uniforms.pick = uniforms.data();
  Drawn drawn{std::vector<int64_t>(count), std::vector<int32_t>(count),
              std::vector<RowDistribution>(count), std::vector<TriePlace>(count)};
  std::vector<CudaStatus> status(count);
  std::vector<detail::Part> parts(count * detail::chunks_of(all.vocab));
  const detail::SampleBatch batch{
      all,
      {drawn.tokens.data(), status.data(), drawn.distributions.data(), drawn.drafter_ids.data(),
       with_places ? drawn.places.data() : nullptr},
      parts.data()};
  testing::play_samples(batch, count);
  EXPECT_EQ(status, std::vector<CudaStatus>(count, CudaStatus::kFine));
  return drawn;
}

void expect_equal(const RowDistribution& a, const RowDistribution& b) {
  EXPECT_EQ(a.one_hot, b.one_hot);
  if (a.one_hot >= 0) return;
  EXPECT_EQ(a.scale, b.scale);
  EXPECT_EQ(a.lower, b.lower);
  EXPECT_EQ(a.exponent, b.exponent);
  EXPECT_EQ(a.inverse_total, b.inverse_total);
}

TEST(Projection, EntriesAreThoseOfTheRowsTheBridgesWrite) {
  const Bridged pair;
  ASSERT_FALSE(pair.map.merged.empty());
  for (const SamplingParams& params : several_params()) {
    const std::vector<float> rows = pair.projected(params);
    const SamplingParams weighing = params.greedy() ? SamplingParams{} : params;
    const std::vector<detail::Distribution> distributions = pair.distributions(weighing);
    const std::vector<float> psi = pair.psi(distributions);
    for (int64_t row = 0; row < pair.kRows; ++row) {
      detail::Distribution distribution{pair.rows.row(row), DType::kFloat32, pair.kVocab};
      distribution.scale = distribution_params(params).scale;
      distribution.map = pair.by_bytes.data();
      const RowDistribution own = known(distributions[row]);
      detail::Distribution spelled = distribution;
      spelled.map = pair.by_spelling.data();
      spelled.weighed = &own;
      for (int64_t token = 0; token < pair.kVocab; ++token) {
        ASSERT_EQ(logit_at(distribution, token), rows[row * pair.kVocab + token]) << token;
        ASSERT_EQ(logit_at(spelled, token), psi[row * pair.kVocab + token]) << token;
      }
    }
  }
}

TEST(Projection, ColumnsThatAreMissingHaveNoMass) {
  const Bridged pair;
  const int64_t cols = 1500;  // of a drafter whose head is narrower than its vocabulary
  RowsView narrow = pair.rows;
  narrow.cols = cols;
  const std::vector<int32_t> map = pack_map(pair.map, pair.kVocab, cols);
  const SamplingParams params;
  const std::vector<float> row = detail::project(narrow, 1, pair.map, pair.kVocab, params);
  detail::Distribution distribution{narrow.row(1), DType::kFloat32, pair.kVocab};
  distribution.scale = distribution_params(params).scale;
  distribution.map = map.data();
  for (int64_t token = 0; token < pair.kVocab; ++token)
    ASSERT_EQ(logit_at(distribution, token), row[token]);
  EXPECT_THROW(pack_map(pair.map, 0, cols), Error);
}

TEST(Projection, DrawsAsTheCpu) {
  Bridged pair;
  for (const SamplingParams& params : several_params()) {
    const std::vector<float> rows = pair.projected(params);
    const RowsView view{rows.data(), DType::kFloat32, pair.kRows, pair.kVocab, pair.kVocab};
    std::vector<double> uniforms;
    for (int64_t i = 0; i < pair.kRows; ++i) uniforms.push_back((i + 0.37) / 6.1);
    CudaSampleRequest all;
    all.logits = pair.rows;
    all.map = pair.by_bytes.data();
    all.vocab = pair.kVocab;
    const Drawn drawn = draw(all, params, uniforms);
    for (int64_t row = 0; row < pair.kRows; ++row) {
      EXPECT_EQ(drawn.tokens[row], sample_row(view, row, params, uniforms[row]));
      const auto token = static_cast<int32_t>(drawn.tokens[row]);
      EXPECT_EQ(drawn.drafter_ids[row], detail::drafter_id(pair.rows, row, pair.map, token));
      expect_equal(drawn.distributions[row], known(make_distribution(view, row, params)));
    }
  }
}

// Every place that a text reaches inside drafter tokens: from the root, and from where it went on.
std::vector<DraftTokenTrie::Place> inner_places(const DraftTokenTrie& token_trie) {
  std::vector<DraftTokenTrie::Place> all;
  for (int32_t i = 0; i < token_trie.size(); i += 7) {
    DraftTokenTrie::Place place = token_trie.root();
    for (int32_t token : token_trie.of(token_trie.drafter_id(i))) {
      place = token_trie.next(place, token);
      if (token_trie.ending(place) < place.end - place.begin) all.push_back(place);
    }
  }
  return all;
}

TEST(Projection, DistributionsInsideADrafterTokenAreTheBridgesToTheBit) {
  const Bridged pair;
  const std::vector<DraftTokenTrie::Place> places = inner_places(pair.token_trie);
  ASSERT_GT(places.size(), 50u);
  const int64_t cols = 2100;  // some token_trie have no logit
  const std::vector<int32_t> narrow =
      pack_token_trie(pair.token_trie, pair.drafter.size(), pair.kVocab, cols);
  for (const SamplingParams& params : {several_params()[1], several_params()[5]}) {
    for (bool all_there : {true, false}) {
      RowsView rows = pair.rows;
      if (!all_there) rows.cols = cols;
      const detail::Distribution own = make_distribution(rows, 2, params);
      const RowDistribution weighed = known(own);
      for (const DraftTokenTrie::Place& at : places) {
        const TriePlace place{at.begin, at.end, at.depth};
        const std::vector<float> psi = pair.token_trie.psi(own, at, pair.kVocab);
        detail::Distribution distribution{pair.rows.row(2), DType::kFloat32, pair.kVocab};
        distribution.scale = own.scale;
        distribution.map = all_there ? pair.by_spelling.data() : narrow.data();
        distribution.weighed = &weighed;
        distribution.place = &place;
        for (int64_t token = 0; token < pair.kVocab; ++token) {
          ASSERT_EQ(logit_at(distribution, token), psi[token]) << at.begin << " " << at.depth;
        }
      }
    }
  }
}

// Tokens drawn one after another from the same row until its token has been spelt, as
// draft/bridge.cpp draws them.
TEST(Projection, DrawsOnInsideADrafterToken) {
  const Bridged pair;
  const SamplingParams params = several_params()[1];
  std::mt19937_64 random(8);
  int went_on = 0, ended = 0;
  const std::vector<detail::Distribution> own = pair.distributions(params);
  const std::vector<RowDistribution> weighed = known(own);
  std::vector<DraftTokenTrie::Place> at(pair.kRows, pair.token_trie.root());
  for (int step = 0; step < 12; ++step) {
    std::vector<TriePlace> places;
    std::vector<double> uniforms, second;
    for (int64_t row = 0; row < pair.kRows; ++row) {
      places.push_back({at[row].begin, at[row].end, at[row].depth});
      uniforms.push_back((static_cast<double>(random() % 1000) + 0.5) / 1000);
      second.push_back((static_cast<double>(random() % 1000) + 0.5) / 1000);
    }
    CudaSampleRequest all;
    all.logits = pair.rows;
    all.map = pair.by_spelling.data();
    all.weighed = weighed.data();
    all.places = places.data();
    all.vocab = pair.kVocab;
    all.uniforms.select = second.data();
    const Drawn drawn = draw(all, params, uniforms, true);
    for (int64_t row = 0; row < pair.kRows; ++row) {
      const std::vector<float> psi = pair.token_trie.psi(own[row], at[row], pair.kVocab);
      const RowsView view{psi.data(), DType::kFloat32, 1, pair.kVocab, pair.kVocab};
      const auto token = static_cast<int32_t>(drawn.tokens[row]);
      ASSERT_EQ(token, sample_row(view, 0, params, uniforms[row]));
      expect_equal(drawn.distributions[row], known(make_distribution(view, 0, params)));
      DraftTokenTrie::Place next = pair.token_trie.next(at[row], token);
      const int32_t end = next.begin + pair.token_trie.ending(next);
      const double ends = detail::mass_of(own[row], pair.token_trie, next.begin, end);
      const double goes_on = detail::mass_of(own[row], pair.token_trie, end, next.end);
      if (second[row] * (ends + goes_on) < ends) {
        next = pair.token_trie.root();
        ASSERT_GE(drawn.drafter_ids[row], 0);
        ++ended;
      } else {
        ASSERT_EQ(drawn.drafter_ids[row], -1);
        ++went_on;
      }
      const TriePlace& told = drawn.places[row];
      ASSERT_EQ((std::array{told.begin, told.end, told.depth}),
                (std::array{next.begin, next.end, next.depth}));
      at[row] = next;
    }
  }
  EXPECT_GT(ended, 9);
  EXPECT_GT(went_on, 9);
}

// Trees whose children are drawn from projected rows, verified with the rows and through the map.
class Verified : public ::testing::TestWithParam<VerifierInfo> {
 protected:
  static constexpr int32_t kNodes = 6;  // one tree: two chains and a sibling; block: a chain
  Bridged pair;
  std::vector<int32_t> parents, tokens, offsets{0, kNodes}, paths{2, 1, 1, 1, 1, 1};
  std::vector<int32_t> proposal_rows{0, 1, 2, 3, 4, 5};
  std::vector<ProposalKind> kinds;
  std::vector<float> target;

  void set_up(Verifier verifier, const std::vector<float>& rows, const SamplingParams& params) {
    std::mt19937_64 random(3);
    std::normal_distribution<float> normal;
    const bool chain = verifier == Verifier::kBlock;
    parents = chain ? std::vector<int32_t>{-1, 0, 1, 2, 3, 4} : std::vector{-1, 0, 0, 1, 2, 4};
    target.assign(kNodes * pair.kVocab, 0);
    for (size_t i = 0; i < target.size(); ++i) {
      target[i] = normal(random) + (std::isfinite(rows[i]) ? rows[i] : -9);
    }
    const RowsView view{rows.data(), DType::kFloat32, kNodes, pair.kVocab, pair.kVocab};
    tokens.assign(kNodes, 0);
    for (int32_t node = 1; node < kNodes; ++node) {
      const double uniform = (static_cast<double>(random() % 1000) + 0.5) / 1000;
      tokens[node] = sample_row(view, parents[node], params, uniform);
    }
    kinds.assign(kNodes,
                 takes(verifier, ProposalKind::kIid) ? ProposalKind::kIid : ProposalKind::kOneHot);
  }

  VerifyRequest request(Verifier verifier, const RowsView& draft_rows,
                        const SamplingParams& target_params, const SamplingParams& draft_params) {
    VerifyRequest all;
    all.trees = {tokens.data(), parents.data(), offsets.data(), 1, paths.data()};
    all.target_logits = {target.data(), DType::kFloat32, kNodes, pair.kVocab, pair.kVocab};
    all.draft_logits = draft_rows;
    all.proposals = {kinds.data(), proposal_rows.data()};
    all.sampling = &target_params;
    all.draft_sampling = &draft_params;
    all.verifier = verifier;
    return all;
  }

  // The same on a host block, rows read beforehand or not; `cpu` has projected rows.
  void expect_same(const VerifyRequest& cpu, const CudaVerifyRequest& through_map) {
    const VerifyResult wanted = verify(cpu);
    for (bool lazy : {true, false}) {
      CudaVerifyRequest all = through_map;
      all.lazy = lazy;
      std::vector<int32_t> accepted(kNodes), counts(1), where(1);
      std::vector<int64_t> next(1);
      std::vector<CudaStatus> status(1);
      std::vector<uint8_t> degenerate(1);
      std::vector<std::max_align_t> workspace(detail::workspace_of(all) / sizeof(std::max_align_t) +
                                              1);
      const detail::Batch batch = detail::batch_of(all,
                                                   {accepted.data(), counts.data(), next.data(),
                                                    status.data(), where.data(), degenerate.data()},
                                                   workspace.data());
      testing::play_batch(batch, 64);
      EXPECT_EQ(status[0], CudaStatus::kFine);
      EXPECT_EQ(next[0], wanted.next_tokens[0]);
      EXPECT_EQ(counts[0], wanted.offsets[1]);
      for (int32_t i = 0; i < std::min(counts[0], wanted.offsets[1]); ++i) {
        EXPECT_EQ(accepted[i], wanted.accepted[i]);
      }
    }
  }

  CudaVerifyRequest mapped(const VerifyRequest& cpu, const RowsView& rows,
                           const DistributionParams& of_target,
                           const DistributionParams& of_draft) {
    return {cpu.trees,  kNodes,    cpu.target_logits, cpu.proposals, rows,
            &of_target, &of_draft, cpu.verifier,      cpu.uniforms};
  }
};

TEST_P(Verified, TokenLevelIntersection) {
  for (uint64_t seed : {1, 3, 4}) {
    const SamplingParams params = several_params()[seed];
    const std::vector<float> rows = pair.projected(params);
    set_up(GetParam().verifier, rows, params);
    const RowsView view{rows.data(), DType::kFloat32, kNodes, pair.kVocab, pair.kVocab};
    VerifyRequest cpu = request(GetParam().verifier, view, params, params);
    cpu.uniforms.seed = seed;
    const DistributionParams distribution = distribution_params(params);
    CudaVerifyRequest all = mapped(cpu, pair.rows, distribution, distribution);
    all.draft_map = pair.by_bytes.data();
    expect_same(cpu, all);
    std::vector<RowDistribution> drawn;
    for (int64_t row = 0; row < kNodes; ++row)
      drawn.push_back(known(make_distribution(view, row, params)));
    all.draft_distributions = drawn.data();  // as those who drew the drafts know them
    expect_same(cpu, all);
  }
}

TEST_P(Verified, InsideADrafterToken) {
  const SamplingParams params = several_params()[1];
  const std::vector<detail::Distribution> distributions = pair.distributions(params);
  const std::vector<DraftTokenTrie::Place> inner = inner_places(pair.token_trie);
  std::vector<TriePlace> places;
  std::vector<float> rows;
  for (int32_t row = 0; row < kNodes; ++row) {  // every other one where a drafter token begins
    const bool begins = row % 2;
    const DraftTokenTrie::Place at = begins ? pair.token_trie.root() : inner[row * 9 + 4];
    places.push_back({at.begin, at.end, at.depth});
    const std::vector<float> psi = pair.token_trie.psi(distributions[row], at, pair.kVocab);
    rows.insert(rows.end(), psi.begin(), psi.end());
  }
  set_up(GetParam().verifier, rows, params);
  const RowsView view{rows.data(), DType::kFloat32, kNodes, pair.kVocab, pair.kVocab};
  const VerifyRequest cpu = request(GetParam().verifier, view, params, params);
  const DistributionParams distribution = distribution_params(params);
  CudaVerifyRequest all = mapped(cpu, pair.rows, distribution, distribution);
  const std::vector<RowDistribution> weighed = known(distributions);
  all.draft_map = pair.by_spelling.data();
  all.draft_weighed = weighed.data();
  all.draft_places = places.data();
  expect_same(cpu, all);
}

TEST_P(Verified, FirstTokensOfTheDraftTokenTrie) {
  for (uint64_t seed : {1, 4}) {
    SamplingParams params = several_params()[seed], of_psi;
    of_psi.temperature = params.temperature;
    const std::vector<detail::Distribution> distributions = pair.distributions(params);
    const std::vector<float> rows = pair.psi(distributions);
    set_up(GetParam().verifier, rows, of_psi);
    const RowsView view{rows.data(), DType::kFloat32, kNodes, pair.kVocab, pair.kVocab};
    VerifyRequest cpu = request(GetParam().verifier, view, params, of_psi);
    cpu.uniforms.seed = seed;
    const DistributionParams of_target = distribution_params(params),
                             of_draft = distribution_params(of_psi);
    CudaVerifyRequest all = mapped(cpu, pair.rows, of_target, of_draft);
    const std::vector<RowDistribution> weighed = known(distributions);
    all.draft_map = pair.by_spelling.data();
    all.draft_weighed = weighed.data();
    expect_same(cpu, all);
  }
}

INSTANTIATE_TEST_SUITE_P(Projection, Verified, ::testing::ValuesIn(verifiers()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace anydraft
