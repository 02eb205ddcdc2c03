// Rounds of a drafter of another vocabulary on the CPU, the engine's models left out: a chain of
// four drawn and verified with rows written over the target's tokens (dense), and with the
// drafter's own rows read through the map. And a batch of requests, one by one and in one call.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <numeric>
#include <random>
#include <vector>

#include "anydraft/draft.h"
#include "anydraft/threads.h"
#include "bridge/projection.h"
#include "bridge/tli.h"

namespace anydraft {
namespace {

// Between two rounds a model is called, whose weights leave little of them in a cache.
void call_a_model() {
  static std::vector<uint64_t> weights(size_t{12} << 20);
  for (size_t i = 0; i < weights.size(); i += 8) weights[i] += i;
}

double median_ms(const std::function<void(uint32_t)>& work, int turns = 60) {
  std::vector<double> times;
  for (int turn = 0; turn < turns + 5; ++turn) {
    call_a_model();
    const auto begin = std::chrono::steady_clock::now();
    work(static_cast<uint32_t>(turn));
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    if (turn >= 5) times.push_back(took.count());
  }
  std::nth_element(times.begin(), times.begin() + turns / 2, times.end());
  return times[turns / 2];
}

constexpr int kDepth = 4;

// Vocabularies of numbered words: the drafter's tokens are a shuffled part of the target's, or
// spelt by two of them.
struct Models {
  int64_t vocab, draft_vocab;
  Vocabulary target, drafter;
  VocabularyMap map;
  DraftTokenTrie token_trie;
  std::vector<float> target_logits, draft_logits;

  static std::string word(int64_t id) { return "<" + std::to_string(id) + ">"; }
  static Vocabulary words(const std::vector<std::string>& bytes) {
    return Vocabulary({bytes, {}, {}, {}, {}}, [](std::string_view text) {
      TokenIds ids;
      while (!text.empty()) {
        const size_t end = text.find('>');
        ids.push_back(static_cast<int32_t>(std::stol(std::string(text.substr(1, end - 1)))));
        text.remove_prefix(end + 1);
      }
      return ids;
    });
  }
  static std::vector<std::string> targets(int64_t vocab) {
    std::vector<std::string> bytes;
    for (int64_t id = 0; id < vocab; ++id) bytes.push_back(word(id));
    return bytes;
  }
  static std::vector<std::string> drafters(int64_t vocab, int64_t draft_vocab) {
    std::mt19937_64 random(1);
    std::vector<int64_t> ids(vocab);
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), random);
    std::vector<std::string> bytes;
    for (int64_t id = 0; id < draft_vocab; ++id) {  // three fifths are shared
      const bool shared = id % 5 < 3;
      bytes.push_back(shared ? word(ids[id]) : word(ids[id / 8 * 4]) + word(ids[id]));
    }
    return bytes;
  }
  Models(int64_t vocab, int64_t draft_vocab)
      : vocab(vocab),
        draft_vocab(draft_vocab),
        target(words(targets(vocab))),
        drafter(words(drafters(vocab, draft_vocab))),
        map(drafter, target),
        token_trie(drafter, target, map) {
    std::mt19937_64 random(2);
    std::normal_distribution<float> normal(0, 3);
    for (int64_t i = 0; i < kDepth * draft_vocab; ++i) draft_logits.push_back(normal(random));
    target_logits.assign((kDepth + 1) * vocab, 0);
    for (int64_t row = 0; row <= kDepth; ++row) {
      for (int64_t i = 0; i < vocab; ++i) target_logits[row * vocab + i] = normal(random) - 4;
      for (int64_t id = 0; id < draft_vocab && row < kDepth; ++id) {
        const int32_t token = token_trie.first_of(static_cast<int32_t>(id));
        if (token < 0) continue;
        float& x = target_logits[row * vocab + token];
        x = std::max(x, draft_logits[row * draft_vocab + id] + 0.3f * normal(random));
      }
    }
  }
  RowsView target_rows() const {
    return {target_logits.data(), DType::kFloat32, kDepth + 1, vocab, vocab};
  }
  RowsView draft_rows() const {
    return {draft_logits.data(), DType::kFloat32, kDepth, draft_vocab, draft_vocab};
  }
};

// A chain on its way to verification.
struct Chain {
  std::vector<int32_t> tokens{0}, parents{-1, 0, 1, 2, 3}, offsets{0, kDepth + 1};
  std::vector<int32_t> rows{0, 1, 2, 3, -1};
  std::vector<ProposalKind> kinds = std::vector<ProposalKind>(kDepth + 1, ProposalKind::kIid);
  VerifyResult result;

  VerifyRequest request(const Models& models, const SamplingParams& params, uint32_t turn) {
    VerifyRequest all;
    all.trees = {tokens.data(), parents.data(), offsets.data(), 1, nullptr};
    all.target_logits = models.target_rows();
    all.proposals = {kinds.data(), rows.data()};
    all.sampling = all.draft_sampling = &params;
    all.verifier = Verifier::kTraversal;
    all.uniforms.seed = turn;
    return all;
  }
};

RandomKey key_of(uint32_t turn, int32_t node) {
  return {turn, 0, 0, static_cast<uint32_t>(node), Purpose::kDraft, 0};
}

void dense_round(const Models& models, bool spelt, const SamplingParams& params, uint32_t turn,
                 std::vector<float>& kept, Chain& chain) {
  kept.clear();
  chain.tokens.resize(1);
  for (int32_t node = 0; node < kDepth; ++node) {
    const std::vector<float> row =
        spelt ? models.token_trie.psi(make_distribution(models.draft_rows(), node, params),
                                      models.token_trie.root(), models.vocab)
              : detail::project(models.draft_rows(), node, models.map, models.vocab, params);
    if (!detail::has_mass(row)) return;
    const RowsView view{row.data(), DType::kFloat32, 1, models.vocab, models.vocab};
    int32_t token = 0;
    draw_children(ProposalKind::kIid, view, 0, params, 1, key_of(turn, node), &token);
    chain.tokens.push_back(token);
    kept.insert(kept.end(), row.begin(), row.end());
  }
  VerifyRequest all = chain.request(models, params, turn);
  all.draft_logits = {kept.data(), DType::kFloat32, kDepth, models.vocab, models.vocab};
  verify(all, chain.result);
}

void mapped_round(const Models& models, const ProjectionView& projection,
                  const SamplingParams& params, uint32_t turn, std::vector<DraftRow>& rows,
                  Chain& chain) {
  std::vector<const DraftRow*> pointers;
  chain.tokens.resize(1);
  for (int32_t node = 0; node < kDepth; ++node) {
    DraftRow& row = rows[node];
    row.logits = models.draft_rows().at(node);
    row.projection = &projection;
    prepare(row, params);
    int32_t token = 0;
    if (draw_children(ProposalKind::kIid, row, params, 1, key_of(turn, node), &token) == 0) return;
    chain.tokens.push_back(token);
    pointers.push_back(&row);
  }
  VerifyRequest all = chain.request(models, params, turn);
  all.draft_rows = pointers.data();
  all.draft_row_count = kDepth;
  verify(all, chain.result);
}

bool compare(const char* name, const Models& models, bool spelt) {
  const Projection by_bytes(models.map, models.vocab, models.draft_vocab);
  const Projection by_spelling(models.token_trie, models.drafter.size(), models.vocab,
                               models.draft_vocab);
  const ProjectionView& projection = (spelt ? by_spelling : by_bytes).view();
  const SamplingParams params;
  std::vector<float> kept;
  std::vector<DraftRow> rows(kDepth);
  Chain dense, mapped;
  int64_t accepted = 0;
  set_threads(1);
  const double before =
      median_ms([&](uint32_t turn) { dense_round(models, spelt, params, turn, kept, dense); });
  const double after = median_ms([&](uint32_t turn) {
    mapped_round(models, projection, params, turn, rows, mapped);
    accepted += mapped.result.offsets[1];
  });
  const bool equal = dense.tokens == mapped.tokens &&
                     dense.result.next_tokens == mapped.result.next_tokens &&
                     dense.result.accepted == mapped.result.accepted;
  std::printf(
      "%s, %lld target and %lld drafter tokens, %d groups: dense %.3f ms, mapped %.3f ms, "
      "%.2f x; %.1f accepted, %s\n",
      name, static_cast<long long>(models.vocab), static_cast<long long>(models.draft_vocab),
      projection.map[0], before, after, before / after, accepted / 65.0,
      equal ? "equal tokens" : "TOKENS DIFFER");
  return equal;
}

bool compare_batch(int64_t vocab) {
  constexpr int64_t kRequests = 8, kNodes = kRequests * (kDepth + 1);
  std::mt19937_64 random(3);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> target(kNodes * vocab), draft(kRequests * kDepth * vocab);
  for (float& x : draft) x = normal(random);
  std::vector<int32_t> tokens, parents, offsets{0}, rows;
  const SamplingParams params;
  for (int32_t request = 0; request < kRequests; ++request) {
    for (int32_t node = 0; node <= kDepth; ++node) {
      const int64_t row = request * kDepth + node;
      parents.push_back(node - 1);
      rows.push_back(node < kDepth ? static_cast<int32_t>(row) : -1);
      float* to = target.data() + (request * (kDepth + 1) + node) * vocab;
      for (int64_t i = 0; i < vocab; ++i)
        to[i] = (node < kDepth ? draft[row * vocab + i] : 0) + 0.3f * normal(random);
    }
    offsets.push_back(static_cast<int32_t>(parents.size()));
  }
  const RowsView draft_rows{draft.data(), DType::kFloat32, kRequests * kDepth, vocab, vocab};
  for (int32_t request = 0; request < kRequests; ++request) {
    tokens.push_back(0);
    for (int64_t row = 0; row < kDepth; ++row) {
      const RandomKey key = key_of(static_cast<uint32_t>(request), static_cast<int32_t>(row));
      tokens.push_back(sample_row(draft_rows, request * kDepth + row, params, uniform(key)));
    }
  }
  const std::vector<ProposalKind> kinds(kNodes, ProposalKind::kIid);
  VerifyResult result;
  const auto run = [&](int64_t first, int64_t count, uint32_t turn) {
    const std::vector<int32_t> own{0, kDepth + 1};
    const int64_t node = first * (kDepth + 1);
    const std::vector<uint32_t> numbers{static_cast<uint32_t>(first)};
    VerifyRequest all;
    all.trees = {tokens.data() + node, parents.data() + node,
                 count == 1 ? own.data() : offsets.data(), count, nullptr};
    all.target_logits = {target.data() + node * vocab, DType::kFloat32, count * (kDepth + 1), vocab,
                         vocab};
    all.proposals = {kinds.data() + node, rows.data() + node};
    all.draft_logits = draft_rows;
    all.sampling = all.draft_sampling = &params;
    all.verifier = Verifier::kTraversal;
    all.uniforms.seed = turn;
    if (count == 1) all.uniforms.requests = numbers.data();
    verify(all, result);
  };
  std::vector<int64_t> alone, together;
  set_threads(1);
  const double single = median_ms(
      [&](uint32_t turn) {
        alone.clear();
        for (int64_t i = 0; i < kRequests; ++i) {
          run(i, 1, turn);
          alone.push_back(result.next_tokens[0]);
        }
      },
      40);
  set_threads(2);
  const double batched = median_ms(
      [&](uint32_t turn) {
        run(0, kRequests, turn);
        together = result.next_tokens;
      },
      40);
  std::printf(
      "8 requests over %lld tokens: one by one %.3f ms, one call on two threads %.3f ms, "
      "%.2f x, %s\n",
      static_cast<long long>(vocab), single, batched, single / batched,
      alone == together ? "equal tokens" : "TOKENS DIFFER");
  return alone == together;
}

}  // namespace
}  // namespace anydraft

int main() {
  const anydraft::Models models(262144, 151936);
  const bool equal[] = {anydraft::compare("tli", models, false),
                        anydraft::compare("slrs", models, true), anydraft::compare_batch(151936)};
  return equal[0] && equal[1] && equal[2] ? 0 : 1;
}
