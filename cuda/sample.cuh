// One token from a row, by a block.
#pragma once

#include "anydraft/cuda.h"
#include "batch.cuh"
#include "block_distributions.cuh"
#include "scan_chunk.cuh"

namespace anydraft::detail {

struct SampleBatch {
  CudaSampleRequest request;
  CudaSampleResult result;
  Part* parts;  // [rows, chunks]
};

ANYDRAFT_HD inline double uniform_of(const CudaSampleRequest& all, int64_t row, uint32_t attempt) {
  const UniformsView& uniforms = all.uniforms;
  if (uniforms.pick) return attempt == 0 ? uniforms.pick[row] : uniforms.select[row];
  RandomKey key;
  key.seed = uniforms.seeds ? uniforms.seeds[row] : uniforms.seed;
  key.request = uniforms.requests ? uniforms.requests[row] : static_cast<uint32_t>(row);
  key.position = uniforms.positions ? uniforms.positions[row] : 0;
  key.node = all.nodes ? all.nodes[row] : 0;
  key.purpose = all.purpose;
  key.attempt = attempt;
  return uniform(key);
}

ANYDRAFT_HD inline int64_t vocab_of(const CudaSampleRequest& all) {
  return all.map ? all.vocab : all.logits.cols;
}
ANYDRAFT_HD inline Distribution unread_row(const CudaSampleRequest& all, int64_t row) {
  Distribution distribution =
      distribution_from(RowDistribution{all.params[row].scale, 0, 0, -1, 0}, all.logits.row(row),
                        all.logits.dtype, vocab_of(all));
  distribution.map = all.map;
  distribution.weighed = all.weighed ? all.weighed + row : nullptr;
  distribution.place = all.places ? all.places + row : nullptr;
  return distribution;
}
ANYDRAFT_HD inline int64_t units_a_row(const CudaSampleRequest& all, int width16) {
  return units_a_row(vocab_of(all), all.logits.dtype, all.map, width16);
}

template <int width16, class Block>
ANYDRAFT_HD void scan_sample_unit(Block& block, const SampleBatch& batch, int64_t unit) {
  const CudaSampleRequest& all = batch.request;
  const int64_t units = units_a_row(all, width16), index = unit / units;
  if (index >= all.logits.rows) return;
  const Distribution row = unread_row(all, index);
  const int first = static_cast<int>(unit % units) * chunks_at_once(row.dtype, row.map, width16);
  scan_chunks<width16>(block, row, first, scale_of_parts(all.params[index]),
                       batch.parts + index * chunks_of(row.size));
}

// The same with a block for each chunk.
template <class Block>
ANYDRAFT_HD void scan_sample_chunk(Block& block, ChunkScratch& scratch, const SampleBatch& batch,
                                   int64_t unit) {
  const int chunks = chunks_of(vocab_of(batch.request)), chunk = static_cast<int>(unit % chunks);
  const int64_t index = unit / chunks;
  const Part part = scan_chunk_together(block, scratch, unread_row(batch.request, index), chunk,
                                        scale_of_parts(batch.request.params[index]));
  if (block.thread() == 0) batch.parts[unit] = part;
}

// Mass of the drafter tokens [begin, end) of the trie, summed in their order.
template <class Block>
ANYDRAFT_HD double mass_spelt(BlockOps<Block>& ops, const Distribution& own,
                              const DraftTokenTrieView& token_trie, int32_t begin, int32_t end) {
  double sum = 0;
  for (int32_t first = begin; first < end; first += kMaxChunks) {
    const int32_t last = Smaller{}(first + kMaxChunks, end);
    double* masses = ops.scratch().totals;
    ops.sync();
    for (int32_t i = first + ops.thread(); i < last; i += ops.threads()) {
      masses[i - first] = token_trie.ids[i] < 0 ? 0 : weighed_mass(own, token_trie.ids[i]);
    }
    ops.sync();
    for (int32_t i = first; i < last; ++i) sum += masses[i - first];
  }
  return sum;
}

// Where the drafter stands behind `token`, and which drafter token ended there; -1: none did.
template <class Block>
ANYDRAFT_HD int32_t stand_behind(BlockOps<Block>& ops, const Distribution& distribution,
                                 int32_t token, bool greedy, double uniform, TriePlace& place) {
  const DraftTokenTrieView token_trie(distribution.map, distribution.size);
  const bool inside = distribution.place && distribution.place->depth > 0;
  place = token_trie.next(inside ? *distribution.place : token_trie.root(), token);
  const int32_t middle = token_trie.first_from(place, 0);  // tokens that end here come first
  const Distribution own = weighed_distribution(distribution);
  const double ends = mass_spelt(ops, own, token_trie, place.begin, middle);
  const double goes_on = mass_spelt(ops, own, token_trie, middle, place.end);
  if (!(greedy ? ends >= goes_on : uniform * (ends + goes_on) < ends)) return -1;
  int32_t best = -1;
  double largest = -1;
  for (int32_t i = place.begin; i < middle; ++i) {
    const double own_mass = token_trie.ids[i] < 0 ? 0 : weighed_mass(own, token_trie.ids[i]);
    if (own_mass > largest) largest = own_mass, best = token_trie.ids[i];
  }
  place = token_trie.root();
  return best;
}

template <class Block>
ANYDRAFT_HD void sample_row(Block& block, Scratch& scratch, const SampleBatch& batch, int64_t row) {
  const CudaSampleRequest& all = batch.request;
  BlockOps<Block> ops(block, scratch);
  bool bad = false;
  const Distribution unread = unread_row(all, row);
  const Part* parts = batch.parts ? batch.parts + row * chunks_of(unread.size) : nullptr;
  const Distribution distribution = BlockDistributions<Block>(ops).distribution_of(
      unread, all.params[row], parts, scratch.target_totals, bad);
  int32_t token = distribution.one_hot;
  if (token < 0) {
    token = ops.pick(distribution.size, scratch.target_totals, uniform_of(all, row, 0),
                     [&](int64_t at) { return mass(distribution, at); });
  }
  TriePlace place{};
  int32_t drafter_id = -1;
  if (batch.result.places) {
    const bool greedy = !(all.params[row].scale > 0);
    if (!bad)
      drafter_id = stand_behind(ops, distribution, token, greedy, uniform_of(all, row, 1), place);
  } else if (batch.result.drafter_ids && !bad && ops.thread() == 0) {
    drafter_id = distribution.map ? likeliest_id(distribution, token) : token;
  }
  if (ops.thread() != 0) return;
  batch.result.tokens[row] = bad ? -1 : token;
  batch.result.status[row] = bad ? CudaStatus::kTargetRow : CudaStatus::kFine;
  if (batch.result.drafter_ids) batch.result.drafter_ids[row] = drafter_id;
  if (batch.result.places) batch.result.places[row] = place;
  if (batch.result.distributions) {
    batch.result.distributions[row] = {distribution.scale, distribution.lower,
                                       distribution.exponent, distribution.one_hot,
                                       distribution.inverse_total};
  }
}

}  // namespace anydraft::detail
