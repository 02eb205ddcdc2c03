// Random batches of drafts for the tests of the kernels' bodies.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "anydraft/verify.h"

namespace anydraft::testing {

// A ragged batch over a vocabulary: chains, and trees whose nodes have up to three children, drawn
// by any distribution of a verifier.
struct Case {
  std::vector<int32_t> tokens, parents, offsets = {0}, paths, proposal_rows, sparse_offsets = {0},
                                        ids;
  std::vector<double> masses;
  std::vector<ProposalKind> kinds;
  std::vector<float> target, draft;
  std::vector<uint16_t> target_half, draft_half;
  std::vector<double> accept, pick, select;
  SamplingParams params, draft_params;
  VerifyRequest request;

  Case(Verifier verifier, int64_t vocab, int requests, uint64_t seed) : random_(seed) {
    std::vector<ProposalKind> allowed;
    for (int kind = 0; kind <= static_cast<int>(ProposalKind::kSparse); ++kind) {
      if (takes(verifier, static_cast<ProposalKind>(kind))) {
        allowed.push_back(static_cast<ProposalKind>(kind));
      }
    }
    for (int i = 0; i < requests; ++i) {
      add_tree(verifier == Verifier::kBlock || i % 2, vocab);
      offsets.push_back(static_cast<int32_t>(tokens.size()));
    }
    std::normal_distribution<float> normal;
    for (size_t node = 0; node < tokens.size(); ++node) {
      kinds.push_back(allowed[random_() % allowed.size()]);
      proposal_rows.push_back(static_cast<int32_t>(node));
      paths.push_back(1 + static_cast<int32_t>(random_() % 3));
      const bool sparse = kinds[node] == ProposalKind::kSparse;
      for (int32_t id = 0; sparse && id < std::min<int64_t>(vocab, 7); ++id) {
        ids.push_back(id);
        masses.push_back(1 + id % 3);
      }
      sparse_offsets.push_back(static_cast<int32_t>(ids.size()));
      for (int64_t i = 0; i < vocab; ++i) {
        target.push_back(2 * normal(random_) + (i < 5 ? 2 * std::log(vocab) : 0));
        draft.push_back(target.back() + normal(random_));
      }
    }
    params.temperature = 0.8;
    draft_params.temperature = 0.9;
    const auto nodes = static_cast<int64_t>(tokens.size());
    request.trees = {tokens.data(), parents.data(), offsets.data(), requests, paths.data()};
    request.target_logits = {target.data(), DType::kFloat32, nodes, vocab, vocab};
    request.draft_logits = {draft.data(), DType::kFloat32, nodes, vocab, vocab};
    request.proposals = {kinds.data(), proposal_rows.data(), sparse_offsets.data(), ids.data(),
                         masses.data()};
    request.uniforms.seed = seed;
    request.sampling = &params;
    request.draft_sampling = &draft_params;
    request.verifier = verifier;
  }

  void add_tree(bool chain, int64_t vocab) {
    const int nodes = 1 + static_cast<int>(random_() % 7);
    for (int node = 0; node < nodes; ++node) {
      tokens.push_back(static_cast<int32_t>(random_() % std::min<int64_t>(vocab, 5)));
      const int back = chain ? 1 : 1 + static_cast<int>(random_() % std::min(node + 1, 3));
      parents.push_back(node == 0 ? -1 : std::max(node - back, 0));
    }
  }

  void give_uniforms() {
    std::uniform_real_distribution<double> uniform(1e-9, 1 - 1e-9);
    for (size_t node = 0; node < tokens.size(); ++node) {
      for (auto* uniforms : {&accept, &pick, &select}) uniforms->push_back(uniform(random_));
    }
    request.uniforms.accept = accept.data();
    request.uniforms.pick = pick.data();
    request.uniforms.select = select.data();
  }

  // The rows as 16-bit ones.
  void halve(DType dtype) {
    const auto convert = [dtype](const std::vector<float>& from, std::vector<uint16_t>& to) {
      for (float value : from) {
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        const uint32_t half = (bits >> 13) & 0x3ffffu;  // of a number below 2^15; tiny ones are 0
        const uint32_t small = half > 112u << 10 ? half - (112u << 10) : 0;
        to.push_back(static_cast<uint16_t>(
            dtype == DType::kBFloat16 ? bits >> 16 : (bits >> 16 & 0x8000u) | (small & 0x7fffu)));
      }
    };
    convert(target, target_half);
    convert(draft, draft_half);
    request.target_logits.data = target_half.data();
    request.draft_logits.data = draft_half.data();
    request.target_logits.dtype = request.draft_logits.dtype = dtype;
  }

  std::mt19937_64 random_;
};

}  // namespace anydraft::testing
