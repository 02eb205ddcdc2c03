// Drafters' rows read through a map by the CPU: tokens, distributions and verdicts are those of the
// rows that the bridges write out, to the bit; rows narrower than the vocabulary are those padded
// with -inf.
#include "rows/draft_rows.h"

#include <gtest/gtest.h>

#include <cmath>

#include "anydraft/draft.h"
#include "anydraft/error.h"
#include "anydraft/threads.h"
#include "block_case.h"
#include "draft_row_cases.h"
#include "rows/fractions.h"
#include "rows/kernels.h"

namespace anydraft {
namespace {

using testing::Both;
using testing::Bridged;
using testing::known;
using testing::Pair;
using testing::several_params;
using testing::Typed;

constexpr ProposalKind kRowKinds[] = {ProposalKind::kOneHot, ProposalKind::kIid,
                                      ProposalKind::kWithoutReplacement, ProposalKind::kSpecHub,
                                      ProposalKind::kGreedyK};

struct DraftRows : ::testing::TestWithParam<DType> {
  ~DraftRows() override { detail::use_kernels(nullptr); }
};

void expect_equal(const RowDistribution& a, const RowDistribution& b) {
  EXPECT_EQ(a.one_hot, b.one_hot);
  if (a.one_hot >= 0) return;
  EXPECT_EQ(a.scale, b.scale);
  EXPECT_EQ(a.lower, b.lower);
  EXPECT_EQ(a.exponent, b.exponent);
  EXPECT_EQ(a.inverse_total, b.inverse_total);
}

TEST_P(DraftRows, AreTheRowsTheBridgesWriteToTheBit) {
  for (int64_t cols : {Bridged::kDraftVocab, int64_t{1501}}) {
    const Pair pair(cols);
    ASSERT_GT(pair.beginnings().size(), 10u);
    const Typed typed(pair.pair, GetParam(), cols);
    for (const detail::RowKernels* set : detail::runnable_kernels()) {
      detail::use_kernels(set);
      for (const SamplingParams& params : several_params()) {
        for (Both& one : pair.every(typed, params)) {
          const detail::Distribution wanted = make_distribution(one.view(), 0, one.params);
          int32_t token = -1;
          ASSERT_EQ(draw_children(ProposalKind::kIid, one.mapped, one.params, 1, {}, &token), 1);
          expect_equal(*one.mapped.known, known(wanted));
          detail::Distribution mapped = detail::unread_row(one.mapped);
          detail::take_known(*one.mapped.known, mapped);
          detail::Fractions fractions;
          detail::keep_masses(mapped, fractions);
          for (int64_t begin = 0; begin < Bridged::kVocab; begin += detail::kChunk) {
            const int64_t end = std::min<int64_t>(begin + detail::kChunk, Bridged::kVocab);
            std::vector<double> masses(end - begin);
            detail::masses_of(mapped, begin, end, masses.data());
            const float* kept = fractions.from(begin);
            const double scale = fractions.scales[begin / detail::kChunk];
            for (int64_t at = begin; at < end; ++at) {
              const double mass = detail::mass(wanted, at);
              ASSERT_EQ(masses[at - begin], mass) << set->name << ' ' << at;
              ASSERT_EQ(kept[at - begin] * scale, mass) << set->name << ' ' << at;
              if (at % 31 == 0) {
                ASSERT_EQ(detail::mass(mapped, at), mass);
              }
            }
          }
        }
      }
    }
  }
}

TEST_P(DraftRows, GiveTheChildrenOfTheRowsTheBridgesWrite) {
  const Pair pair(Bridged::kDraftVocab);
  const Typed typed(pair.pair, GetParam(), Bridged::kDraftVocab);
  for (const SamplingParams& params : several_params()) {
    uint32_t node = 0;
    for (Both& one : pair.every(typed, params)) {
      for (ProposalKind kind : kRowKinds) {
        const RandomKey key{7, 1, 2, node += 4, Purpose::kDraft, 0};
        int32_t wanted[4] = {-1, -1, -1, -1}, got[4] = {-1, -1, -1, -1};
        const int32_t count = draw_children(kind, one.view(), 0, one.params, 4, key, wanted);
        ASSERT_EQ(draw_children(kind, one.mapped, one.params, 4, key, got), count);
        for (int32_t i = 0; i < count; ++i) ASSERT_EQ(got[i], wanted[i]) << name_of(kind);
      }
    }
  }
}

TEST_P(DraftRows, NameWhatADrafterIsFed) {
  const Pair pair(Bridged::kDraftVocab);
  const Typed typed(pair.pair, GetParam(), Bridged::kDraftVocab);
  const DraftTokenTrie& trie = pair.pair.token_trie;
  for (int64_t row = 0; row < Bridged::kRows; ++row) {
    Both bytes = pair.both(typed, row, {}, false), spelt = pair.both(typed, row, {}, true);
    const detail::Distribution own = make_distribution(typed.rows, row, {});
    for (int32_t token = 0; token < Bridged::kVocab; ++token) {
      if (token < pair.pair.target.size()) {
        ASSERT_EQ(drafter_id(bytes.mapped, token),
                  detail::drafter_id(typed.rows, row, pair.pair.map, token));
      }
      const Spelling spelling = spell(spelt.mapped, token);
      const DraftTokenTrie::Place next = trie.next(trie.root(), token);
      const int32_t end = next.begin + trie.ending(next);
      ASSERT_EQ(spelling.place.begin, next.begin);
      ASSERT_EQ(spelling.place.end, next.end);
      ASSERT_EQ(spelling.ends, detail::mass_of(own, trie, next.begin, end));
      ASSERT_EQ(spelling.goes_on, detail::mass_of(own, trie, end, next.end));
      if (end == next.begin) {
        ASSERT_EQ(spelling.drafter_id, -1);
      }
    }
  }
}

TEST_P(DraftRows, AreAsConfidentAsTheirLikeliestToken) {
  const Pair pair(Bridged::kDraftVocab);
  const Typed typed(pair.pair, GetParam(), Bridged::kDraftVocab);
  for (int64_t row = 0; row < Bridged::kRows; ++row) {
    const detail::Distribution own = make_distribution(typed.rows, row, {});
    double largest = 0;
    for (int64_t id = 0; id < own.size; ++id) largest = std::max(largest, detail::mass(own, id));
    EXPECT_EQ(confidence(typed.rows.at(row)), largest);
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, DraftRows,
                         ::testing::Values(DType::kFloat32, DType::kBFloat16, DType::kFloat16));

// Trees of every kind that a verifier takes, drawn from mapped rows of all sorts and verified with
// them and with the rows written out.
TEST(MappedVerification, HasTheVerdictsOfTheRowsTheBridgesWrite) {
  const Pair pair(Bridged::kDraftVocab);
  const Typed typed(pair.pair, DType::kBFloat16, Bridged::kDraftVocab);
  constexpr int32_t kNodes = 7;
  std::mt19937_64 random(9);
  std::normal_distribution<float> normal;
  int64_t accepted = 0;
  for (const SamplingParams& params : {several_params()[0], several_params()[1]}) {
    std::vector<Both> rows = pair.every(typed, params);
    for (const VerifierInfo& info : verifiers()) {
      for (ProposalKind kind : kRowKinds) {
        if (!takes(info.verifier, kind)) continue;
        for (uint32_t turn = 0; turn < 40; ++turn) {
          const bool chain = traits_of(info.verifier).shape == DraftShape::kChain;
          std::vector<int32_t> tokens{0}, parents{-1}, offsets{0}, proposal_rows;
          std::vector<const DraftRow*> pointers;
          std::vector<float> dense, target;
          for (int32_t node = 0; node < 3; ++node) {  // three levels, two children each or one
            Both& one = rows[random() % rows.size()];
            int32_t out[2];
            const RandomKey key{turn, 0, 0, static_cast<uint32_t>(3 * node), Purpose::kDraft, 0};
            const int32_t count =
                draw_children(kind, one.mapped, one.params, chain ? 1 : 2, key, out);
            ASSERT_GT(count, 0);
            const int32_t at = chain ? node : std::max(0, static_cast<int32_t>(tokens.size()) - 1);
            proposal_rows.resize(tokens.size(), -1);
            proposal_rows[at] = node;
            for (int32_t i = 0; i < count; ++i) tokens.push_back(out[i]), parents.push_back(at);
            pointers.push_back(&one.mapped);
            dense.insert(dense.end(), one.dense.begin(), one.dense.end());
          }
          const auto nodes = static_cast<int32_t>(tokens.size());
          ASSERT_LE(nodes, kNodes);
          proposal_rows.resize(nodes, -1);
          offsets.push_back(nodes);
          for (int32_t node = 0; node < nodes; ++node) {
            const int32_t row = proposal_rows[node];
            for (int64_t i = 0; i < Bridged::kVocab; ++i) {
              const float x = row < 0 ? 0 : dense[row * Bridged::kVocab + i];
              target.push_back((std::isfinite(x) ? x : -4) + 0.4f * normal(random));
            }
          }
          const std::vector<ProposalKind> kinds(nodes, kind);
          VerifyRequest all;
          all.trees = {tokens.data(), parents.data(), offsets.data(), 1, nullptr};
          all.target_logits = {target.data(), DType::kFloat32, nodes, Bridged::kVocab,
                               Bridged::kVocab};
          all.proposals = {kinds.data(), proposal_rows.data()};
          all.draft_logits = {dense.data(), DType::kFloat32, 3, Bridged::kVocab, Bridged::kVocab};
          all.sampling = &params;
          all.draft_sampling = &rows[1].params;  // the temperature alone, as all rows here have it
          all.verifier = info.verifier;
          all.uniforms.seed = turn;
          all.want_acceptance = info.verifier != Verifier::kMultipath;
          const VerifyResult wanted = verify(all);
          all.draft_logits = {};
          all.draft_rows = pointers.data();
          all.draft_row_count = 3;
          for (bool tells : {true, false}) {  // with what is known of the rows, and without
            std::vector<DraftRow> unknown;
            std::vector<const DraftRow*> others;
            for (const DraftRow* row : pointers) unknown.push_back(*row);
            for (DraftRow& row : unknown) row.known.reset(), others.push_back(&row);
            if (!tells) all.draft_rows = others.data();
            const VerifyResult got = verify(all);
            ASSERT_EQ(got.accepted, wanted.accepted) << info.name << ' ' << name_of(kind);
            ASSERT_EQ(got.next_tokens, wanted.next_tokens) << info.name << ' ' << name_of(kind);
            ASSERT_EQ(got.acceptance, wanted.acceptance) << info.name << ' ' << name_of(kind);
          }
          accepted += static_cast<int64_t>(wanted.accepted.size());
        }
      }
    }
  }
  EXPECT_GT(accepted, 300);
}

// Rows at addresses of their own that end before the vocabulary does.
TEST(NarrowRows, AreThoseWithMaskedIdsBehindThem) {
  for (const VerifierInfo& info : verifiers()) {
    for (int64_t cols : {int64_t{5000}, int64_t{4096}, int64_t{60}}) {
      const int64_t vocab = 9000;
      testing::Case padded(info.verifier, vocab, 12, 77);
      padded.params.top_p = 0.95;
      std::vector<std::vector<float>> target, draft;
      const auto nodes = static_cast<int64_t>(padded.tokens.size());
      for (int64_t node = 0; node < nodes; ++node) {
        for (auto* rows : {&padded.target, &padded.draft}) {
          float* row = rows->data() + node * vocab;
          (rows == &padded.target ? target : draft).emplace_back(row, row + cols);
          std::fill(row + cols, row + vocab, -INFINITY);
        }
      }
      padded.request.report_status = true;
      padded.request.want_acceptance = info.verifier != Verifier::kMultipath;
      VerifyRequest narrow = padded.request;
      std::vector<RowView> target_rows;
      std::vector<DraftRow> draft_rows(nodes);
      std::vector<const DraftRow*> pointers;
      for (int64_t node = 0; node < nodes; ++node) {
        target_rows.push_back({target[node].data(), DType::kFloat32, cols, node});
        draft_rows[node].logits = {draft[node].data(), DType::kFloat32, cols, node};
        pointers.push_back(&draft_rows[node]);
      }
      narrow.target_logits = narrow.draft_logits = {};
      narrow.target_rows = target_rows.data();
      narrow.draft_rows = pointers.data();
      narrow.draft_row_count = nodes;
      narrow.vocab = vocab;
      set_threads(1);
      const VerifyResult wanted = verify(padded.request);
      for (int threads : {1, 2, 3}) {
        set_threads(threads);
        const VerifyResult got = verify(narrow);
        EXPECT_EQ(got.accepted, wanted.accepted) << info.name << ' ' << cols;
        EXPECT_EQ(got.offsets, wanted.offsets);
        EXPECT_EQ(got.next_tokens, wanted.next_tokens);
        EXPECT_EQ(got.acceptance, wanted.acceptance);
        EXPECT_EQ(got.status, wanted.status);
      }
      set_threads(0);
    }
  }
}

TEST(MappedVerification, RefusesRowsThatDoNotFit) {
  const Pair pair(Bridged::kDraftVocab);
  const Typed typed(pair.pair, DType::kFloat32, Bridged::kDraftVocab);
  DraftRow row = pair.both(typed, 0, {}, false).mapped;
  std::vector<int32_t> tokens{0, 0}, parents{-1, 0}, offsets{0, 2}, rows{0, -1};
  ASSERT_EQ(draw_children(ProposalKind::kIid, row, {}, 1, {}, &tokens[1]), 1);
  const std::vector<ProposalKind> kinds(2, ProposalKind::kIid);
  const std::vector<float> target(2 * Bridged::kVocab, 0);
  const DraftRow* pointers[] = {&row};
  const SamplingParams params;
  VerifyRequest all;
  all.trees = {tokens.data(), parents.data(), offsets.data(), 1, nullptr};
  all.target_logits = {target.data(), DType::kFloat32, 2, Bridged::kVocab, Bridged::kVocab};
  all.proposals = {kinds.data(), rows.data()};
  all.sampling = all.draft_sampling = &params;
  all.draft_rows = pointers;
  all.draft_row_count = 1;
  EXPECT_NO_THROW(verify(all));
  const DraftRow good = row;
  row.merged.clear();
  EXPECT_THROW(verify(all), Error);  // not prepared
  row = good;
  row.known->scale = 3;
  EXPECT_THROW(verify(all), Error);  // another temperature's
  row = good;
  row.logits.cols = 100;
  EXPECT_THROW(verify(all), Error);
  EXPECT_THROW(prepare(row, {}), Error);
  row = good;
  all.target_logits.cols = 100;
  EXPECT_THROW(verify(all), Error);
  std::vector<float> bad(Bridged::kDraftVocab, 0);
  bad[Bridged::kDraftVocab - 1] = NAN;  // padding: no target token has it
  row.logits.data = bad.data();
  EXPECT_THROW(prepare(row, {}), Error);
  std::vector<float> masked(Bridged::kDraftVocab, -INFINITY);
  row.logits.data = masked.data();
  prepare(row, {});
  EXPECT_EQ(draw_children(ProposalKind::kIid, row, {}, 1, {}, &tokens[1]), 0);
  EXPECT_FALSE(row.known.has_value());
}

}  // namespace
}  // namespace anydraft
