// A drafter's rows read through a map by kernels' bodies: the laws, to the bit, and the tokens of
// the rows that the bridges write out on the CPU.
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
  std::vector<RowLaw> laws;
  std::vector<SpellingPlace> places;
};
Drawn draw(CudaSampleRequest all, const SamplingParams& params, const std::vector<double>& coins,
           bool with_places = false) {
  const int64_t count = all.logits.rows;
  const std::vector<LawParams> each(count, law_params(params));
  all.params = each.data();
  all.coins.pick = coins.data();
  Drawn drawn{std::vector<int64_t>(count), std::vector<int32_t>(count), std::vector<RowLaw>(count),
              std::vector<SpellingPlace>(count)};
  std::vector<CudaStatus> status(count);
  std::vector<detail::Part> parts(count * detail::chunks_of(all.vocab));
  const detail::SampleBatch batch{
      all,
      {drawn.tokens.data(), status.data(), drawn.laws.data(), drawn.drafter_ids.data(),
       with_places ? drawn.places.data() : nullptr},
      parts.data()};
  testing::play_samples(batch, count);
  EXPECT_EQ(status, std::vector<CudaStatus>(count, CudaStatus::kFine));
  return drawn;
}

void expect_equal(const RowLaw& a, const RowLaw& b) {
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
    const std::vector<detail::Law> laws = pair.laws(weighing);
    const std::vector<float> psi = pair.psi(laws);
    for (int64_t row = 0; row < pair.kRows; ++row) {
      detail::Law law{pair.rows.row(row), DType::kFloat32, pair.kVocab};
      law.scale = law_params(params).scale;
      law.map = pair.by_bytes.data();
      const RowLaw own = known(laws[row]);
      detail::Law spelled = law;
      spelled.map = pair.by_spelling.data();
      spelled.weighed = &own;
      for (int64_t token = 0; token < pair.kVocab; ++token) {
        ASSERT_EQ(logit_at(law, token), rows[row * pair.kVocab + token]) << token;
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
  detail::Law law{narrow.row(1), DType::kFloat32, pair.kVocab};
  law.scale = law_params(params).scale;
  law.map = map.data();
  for (int64_t token = 0; token < pair.kVocab; ++token) ASSERT_EQ(logit_at(law, token), row[token]);
  EXPECT_THROW(pack_map(pair.map, 0, cols), Error);
}

TEST(Projection, DrawsAsTheCpu) {
  Bridged pair;
  for (const SamplingParams& params : several_params()) {
    const std::vector<float> rows = pair.projected(params);
    const RowsView view{rows.data(), DType::kFloat32, pair.kRows, pair.kVocab, pair.kVocab};
    std::vector<double> coins;
    for (int64_t i = 0; i < pair.kRows; ++i) coins.push_back((i + 0.37) / 6.1);
    CudaSampleRequest all;
    all.logits = pair.rows;
    all.map = pair.by_bytes.data();
    all.vocab = pair.kVocab;
    const Drawn drawn = draw(all, params, coins);
    for (int64_t row = 0; row < pair.kRows; ++row) {
      EXPECT_EQ(drawn.tokens[row], sample_row(view, row, params, coins[row]));
      const auto token = static_cast<int32_t>(drawn.tokens[row]);
      EXPECT_EQ(drawn.drafter_ids[row], detail::drafter_id(pair.rows, row, pair.map, token));
      expect_equal(drawn.laws[row], known(make_law(view, row, params)));
    }
  }
}

// Every place that a text reaches inside drafter tokens: from the root, and from where it went on.
std::vector<Spellings::Place> inner_places(const Spellings& spellings) {
  std::vector<Spellings::Place> all;
  for (int32_t i = 0; i < spellings.size(); i += 7) {
    Spellings::Place place = spellings.root();
    for (int32_t token : spellings.of(spellings.drafter_id(i))) {
      place = spellings.next(place, token);
      if (spellings.ending(place) < place.end - place.begin) all.push_back(place);
    }
  }
  return all;
}

TEST(Projection, LawsInsideADrafterTokenAreTheBridgesToTheBit) {
  const Bridged pair;
  const std::vector<Spellings::Place> places = inner_places(pair.spellings);
  ASSERT_GT(places.size(), 50u);
  const int64_t cols = 2100;  // some spellings have no logit
  const std::vector<int32_t> narrow =
      pack_spellings(pair.spellings, pair.drafter.size(), pair.kVocab, cols);
  for (const SamplingParams& params : {several_params()[1], several_params()[5]}) {
    for (bool all_there : {true, false}) {
      RowsView rows = pair.rows;
      if (!all_there) rows.cols = cols;
      const detail::Law own = make_law(rows, 2, params);
      const RowLaw weighed = known(own);
      for (const Spellings::Place& at : places) {
        const SpellingPlace place{at.begin, at.end, at.depth};
        const std::vector<float> psi = pair.spellings.psi(own, at, pair.kVocab);
        detail::Law law{pair.rows.row(2), DType::kFloat32, pair.kVocab};
        law.scale = own.scale;
        law.map = all_there ? pair.by_spelling.data() : narrow.data();
        law.weighed = &weighed;
        law.place = &place;
        for (int64_t token = 0; token < pair.kVocab; ++token) {
          ASSERT_EQ(logit_at(law, token), psi[token]) << at.begin << " " << at.depth;
        }
      }
    }
  }
}

// Tokens drawn one after another from the same row until its token has been spelt, as
// session/slrs_draft.cpp draws them.
TEST(Projection, DrawsOnInsideADrafterToken) {
  const Bridged pair;
  const SamplingParams params = several_params()[1];
  std::mt19937_64 random(8);
  int went_on = 0, ended = 0;
  const std::vector<detail::Law> own = pair.laws(params);
  const std::vector<RowLaw> weighed = known(own);
  std::vector<Spellings::Place> at(pair.kRows, pair.spellings.root());
  for (int step = 0; step < 12; ++step) {
    std::vector<SpellingPlace> places;
    std::vector<double> coins, second;
    for (int64_t row = 0; row < pair.kRows; ++row) {
      places.push_back({at[row].begin, at[row].end, at[row].depth});
      coins.push_back((static_cast<double>(random() % 1000) + 0.5) / 1000);
      second.push_back((static_cast<double>(random() % 1000) + 0.5) / 1000);
    }
    CudaSampleRequest all;
    all.logits = pair.rows;
    all.map = pair.by_spelling.data();
    all.weighed = weighed.data();
    all.places = places.data();
    all.vocab = pair.kVocab;
    all.coins.select = second.data();
    const Drawn drawn = draw(all, params, coins, true);
    for (int64_t row = 0; row < pair.kRows; ++row) {
      const std::vector<float> psi = pair.spellings.psi(own[row], at[row], pair.kVocab);
      const RowsView view{psi.data(), DType::kFloat32, 1, pair.kVocab, pair.kVocab};
      const auto token = static_cast<int32_t>(drawn.tokens[row]);
      ASSERT_EQ(token, sample_row(view, 0, params, coins[row]));
      expect_equal(drawn.laws[row], known(make_law(view, 0, params)));
      Spellings::Place next = pair.spellings.next(at[row], token);
      const int32_t end = next.begin + pair.spellings.ending(next);
      const double ends = detail::mass_of(own[row], pair.spellings, next.begin, end);
      const double goes_on = detail::mass_of(own[row], pair.spellings, end, next.end);
      if (second[row] * (ends + goes_on) < ends) {
        next = pair.spellings.root();
        ASSERT_GE(drawn.drafter_ids[row], 0);
        ++ended;
      } else {
        ASSERT_EQ(drawn.drafter_ids[row], -1);
        ++went_on;
      }
      const SpellingPlace& told = drawn.places[row];
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
  std::vector<int32_t> law_rows{0, 1, 2, 3, 4, 5};
  std::vector<LawKind> kinds;
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
      const double coin = (static_cast<double>(random() % 1000) + 0.5) / 1000;
      tokens[node] = sample_row(view, parents[node], params, coin);
    }
    kinds.assign(kNodes, takes(verifier, LawKind::kRow) ? LawKind::kRow : LawKind::kOneHot);
  }

  VerifyRequest request(Verifier verifier, const RowsView& draft_rows,
                        const SamplingParams& target_params, const SamplingParams& draft_params) {
    VerifyRequest all;
    all.trees = {tokens.data(), parents.data(), offsets.data(), 1, paths.data()};
    all.target_logits = {target.data(), DType::kFloat32, kNodes, pair.kVocab, pair.kVocab};
    all.draft_logits = draft_rows;
    all.laws = {kinds.data(), law_rows.data()};
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
      std::vector<std::max_align_t> room(detail::room_of(all) / sizeof(std::max_align_t) + 1);
      const detail::Batch batch = detail::batch_of(all,
                                                   {accepted.data(), counts.data(), next.data(),
                                                    status.data(), where.data(), degenerate.data()},
                                                   room.data());
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
                           const LawParams& of_target, const LawParams& of_draft) {
    return {cpu.trees,  kNodes,    cpu.target_logits, cpu.laws, rows,
            &of_target, &of_draft, cpu.verifier,      cpu.coins};
  }
};

TEST_P(Verified, TokenLevelIntersection) {
  for (uint64_t seed : {1, 3, 4}) {
    const SamplingParams params = several_params()[seed];
    const std::vector<float> rows = pair.projected(params);
    set_up(GetParam().verifier, rows, params);
    const RowsView view{rows.data(), DType::kFloat32, kNodes, pair.kVocab, pair.kVocab};
    VerifyRequest cpu = request(GetParam().verifier, view, params, params);
    cpu.coins.seed = seed;
    const LawParams law = law_params(params);
    CudaVerifyRequest all = mapped(cpu, pair.rows, law, law);
    all.draft_map = pair.by_bytes.data();
    expect_same(cpu, all);
    std::vector<RowLaw> drawn;
    for (int64_t row = 0; row < kNodes; ++row) drawn.push_back(known(make_law(view, row, params)));
    all.draft_laws = drawn.data();  // as those who drew the drafts know them
    expect_same(cpu, all);
  }
}

TEST_P(Verified, InsideADrafterToken) {
  const SamplingParams params = several_params()[1];
  const std::vector<detail::Law> laws = pair.laws(params);
  const std::vector<Spellings::Place> inner = inner_places(pair.spellings);
  std::vector<SpellingPlace> places;
  std::vector<float> rows;
  for (int32_t row = 0; row < kNodes; ++row) {  // every other one where a drafter token begins
    const bool begins = row % 2;
    const Spellings::Place at = begins ? pair.spellings.root() : inner[row * 9 + 4];
    places.push_back({at.begin, at.end, at.depth});
    const std::vector<float> psi = pair.spellings.psi(laws[row], at, pair.kVocab);
    rows.insert(rows.end(), psi.begin(), psi.end());
  }
  set_up(GetParam().verifier, rows, params);
  const RowsView view{rows.data(), DType::kFloat32, kNodes, pair.kVocab, pair.kVocab};
  const VerifyRequest cpu = request(GetParam().verifier, view, params, params);
  const LawParams law = law_params(params);
  CudaVerifyRequest all = mapped(cpu, pair.rows, law, law);
  const std::vector<RowLaw> weighed = known(laws);
  all.draft_map = pair.by_spelling.data();
  all.draft_weighed = weighed.data();
  all.draft_places = places.data();
  expect_same(cpu, all);
}

TEST_P(Verified, FirstTokensOfSpellings) {
  for (uint64_t seed : {1, 4}) {
    SamplingParams params = several_params()[seed], of_psi;
    of_psi.temperature = params.temperature;
    const std::vector<detail::Law> laws = pair.laws(params);
    const std::vector<float> rows = pair.psi(laws);
    set_up(GetParam().verifier, rows, of_psi);
    const RowsView view{rows.data(), DType::kFloat32, kNodes, pair.kVocab, pair.kVocab};
    VerifyRequest cpu = request(GetParam().verifier, view, params, of_psi);
    cpu.coins.seed = seed;
    const LawParams of_target = law_params(params), of_draft = law_params(of_psi);
    CudaVerifyRequest all = mapped(cpu, pair.rows, of_target, of_draft);
    const std::vector<RowLaw> weighed = known(laws);
    all.draft_map = pair.by_spelling.data();
    all.draft_weighed = weighed.data();
    expect_same(cpu, all);
  }
}

INSTANTIATE_TEST_SUITE_P(Projection, Verified, ::testing::ValuesIn(verifiers()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace anydraft
