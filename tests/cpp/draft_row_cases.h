// Draft rows of every sort beside the rows that the bridges write out for them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "anydraft/draft.h"
#include "bridge/projection.h"
#include "bridged.h"

namespace anydraft::testing {

// The pair's rows in a dtype, and the same numbers as floats.
struct Typed {
  std::vector<uint16_t> halves;
  std::vector<float> floats;
  RowsView rows, as_floats;

  Typed(const Bridged& pair, DType dtype, int64_t cols) {
    floats = pair.logits;
    for (float& x : floats) {
      uint32_t bits;
      memcpy(&bits, &x, sizeof bits);
      auto half = static_cast<uint16_t>(bits >> 16);
      if (dtype == DType::kFloat16) {
        const uint32_t magnitude = (bits & 0x7fffffffu) >> 13;
        const uint32_t small = magnitude > 112u << 10 ? magnitude - (112u << 10) : 0;
        const uint32_t finite = std::isinf(x) ? 0x7c00u : std::min(small, 0x7bffu);
        half = static_cast<uint16_t>((bits >> 16 & 0x8000u) | finite);
      }
      if (dtype == DType::kFloat32) continue;
      halves.push_back(half);
      x = dtype == DType::kBFloat16 ? detail::float_from_bfloat16(half)
                                    : detail::float_from_float16(half);
    }
    halves.shrink_to_fit();  // a read past the end is seen
    const void* data = dtype == DType::kFloat32 ? static_cast<const void*>(floats.data())
                                                : static_cast<const void*>(halves.data());
    rows = {data, dtype, pair.kRows, cols, pair.kDraftVocab};
    as_floats = {floats.data(), DType::kFloat32, pair.kRows, cols, pair.kDraftVocab};
  }
};

// A row written over the target's tokens, and the drafter's to be read so.
struct Both {
  std::vector<float> dense;
  DraftRow mapped;
  SamplingParams params;  // to draw with

  RowsView view() const {
    const auto size = static_cast<int64_t>(dense.size());
    return {dense.data(), DType::kFloat32, 1, size, size};
  }
};

struct Pair {
  Bridged pair;
  int64_t cols;
  Projection by_bytes, by_spelling;

  explicit Pair(int64_t cols)
      : cols(cols),
        by_bytes(pair.map, Bridged::kVocab, cols),
        by_spelling(pair.token_trie, pair.drafter.size(), Bridged::kVocab, cols) {}

  // At the place of `inner` target tokens that a drafter token begins with; empty: none.
  Both both(const Typed& typed, int64_t row, const SamplingParams& params, bool spelt,
            const TokenIds& inner = {}) const {
    Both both;
    both.params = params;
    both.mapped.logits = typed.rows.at(row);
    both.mapped.projection = spelt ? &by_spelling.view() : &by_bytes.view();
    if (!spelt) {
      both.dense = detail::project(typed.rows, row, pair.map, Bridged::kVocab, params);
      prepare(both.mapped, params);
      return both;
    }
    const SamplingParams weighing = params.greedy() ? SamplingParams{} : params;
    both.params = SamplingParams{};
    both.params.temperature = weighing.temperature;
    DraftTokenTrie::Place place = pair.token_trie.root();
    for (int32_t token : inner) place = pair.token_trie.next(place, token);
    RowsView own = typed.rows;
    both.dense = pair.token_trie.psi(make_distribution(own, row, weighing), place, Bridged::kVocab);
    prepare(both.mapped, weighing);
    if (!inner.empty()) both.mapped = inside(both.mapped, {place.begin, place.end, place.depth});
    return both;
  }

  // Beginnings of drafter tokens that go on.
  std::vector<TokenIds> beginnings() const {
    std::vector<TokenIds> all;
    for (int32_t i = 0; i < pair.token_trie.size(); i += 37) {
      TokenIds spelled = pair.token_trie.of(pair.token_trie.drafter_id(i));
      if (spelled.size() < 2) continue;
      spelled.pop_back();
      all.push_back(spelled);
    }
    return all;
  }

  std::vector<Both> every(const Typed& typed, const SamplingParams& params) const {
    std::vector<Both> all;
    for (int64_t row = 0; row < Bridged::kRows; ++row) {
      all.push_back(both(typed, row, params, false));
      all.push_back(both(typed, row, params, true));
    }
    int64_t row = 0;
    for (const TokenIds& inner : beginnings()) {
      Both one = both(typed, row++ % Bridged::kRows, params, true, inner);
      if (detail::has_mass(one.dense)) all.push_back(std::move(one));
    }
    return all;
  }
};

}  // namespace anydraft::testing
