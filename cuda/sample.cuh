// One token from a row, by a block.
#pragma once

#include "anydraft/cuda.h"
#include "batch.cuh"
#include "block_laws.cuh"
#include "scan_chunk.cuh"

namespace anydraft::detail {

struct SampleBatch {
  CudaSampleRequest request;
  CudaSampleResult result;
  Part* parts;  // [rows, chunks]
};

ANYDRAFT_HD inline double coin_of(const CudaSampleRequest& all, int64_t row, uint32_t attempt) {
  const CoinsView& coins = all.coins;
  if (coins.pick) return attempt == 0 ? coins.pick[row] : coins.select[row];
  CoinKey key;
  key.seed = coins.seeds ? coins.seeds[row] : coins.seed;
  key.request = coins.requests ? coins.requests[row] : static_cast<uint32_t>(row);
  key.position = coins.positions ? coins.positions[row] : 0;
  key.node = all.nodes ? all.nodes[row] : 0;
  key.purpose = all.purpose;
  key.attempt = attempt;
  return coin(key);
}

ANYDRAFT_HD inline int64_t vocab_of(const CudaSampleRequest& all) {
  return all.map ? all.vocab : all.logits.cols;
}
ANYDRAFT_HD inline Law unread_row(const CudaSampleRequest& all, int64_t row) {
  Law law = law_from(RowLaw{all.params[row].scale, 0, 0, -1, 0}, all.logits.row(row),
                     all.logits.dtype, vocab_of(all));
  law.map = all.map;
  law.weighed = all.weighed ? all.weighed + row : nullptr;
  law.place = all.places ? all.places + row : nullptr;
  return law;
}
ANYDRAFT_HD inline int64_t units_a_row(const CudaSampleRequest& all, int width16) {
  return units_a_row(vocab_of(all), all.logits.dtype, all.map, width16);
}

template <int width16, class Block>
ANYDRAFT_HD void scan_sample_unit(Block& block, const SampleBatch& batch, int64_t unit) {
  const CudaSampleRequest& all = batch.request;
  const int64_t units = units_a_row(all, width16), index = unit / units;
  if (index >= all.logits.rows) return;
  const Law row = unread_row(all, index);
  const int first = static_cast<int>(unit % units) * chunks_at_once(row.dtype, row.map, width16);
  scan_chunks<width16>(block, row, first, scale_of_parts(all.params[index]),
                       batch.parts + index * chunks_of(row.size));
}

// The same by a block a chunk.
template <class Block>
ANYDRAFT_HD void scan_sample_chunk(Block& block, ChunkScratch& scratch, const SampleBatch& batch,
                                   int64_t unit) {
  const int chunks = chunks_of(vocab_of(batch.request)), chunk = static_cast<int>(unit % chunks);
  const int64_t index = unit / chunks;
  const Part part = scan_chunk_together(block, scratch, unread_row(batch.request, index), chunk,
                                        scale_of_parts(batch.request.params[index]));
  if (block.thread() == 0) batch.parts[unit] = part;
}

// Mass of the spellings [begin, end), in their order.
template <class Block>
ANYDRAFT_HD double mass_spelt(Crew<Block>& crew, const Law& own, const SpellingsView& spellings,
                              int32_t begin, int32_t end) {
  double sum = 0;
  for (int32_t first = begin; first < end; first += kMaxChunks) {
    const int32_t last = Smaller{}(first + kMaxChunks, end);
    double* masses = crew.scratch().totals;
    crew.sync();
    for (int32_t i = first + crew.thread(); i < last; i += crew.threads()) {
      masses[i - first] = spellings.ids[i] < 0 ? 0 : mass(own, spellings.ids[i]);
    }
    crew.sync();
    for (int32_t i = first; i < last; ++i) sum += masses[i - first];
  }
  return sum;
}

// Where the drafter stands behind `token`, and which of its tokens ended there; -1: it goes on.
template <class Block>
ANYDRAFT_HD int32_t stand_behind(Crew<Block>& crew, const Law& law, int32_t token, bool greedy,
                                 double coin, SpellingPlace& place) {
  const SpellingsView spellings(law.map, law.size);
  const bool inside = law.place && law.place->depth > 0;
  place = spellings.next(inside ? *law.place : spellings.root(), token);
  const int32_t middle = spellings.first_from(place, 0);  // those that end come first
  const Law own = weighed_law(law);
  const double ends = mass_spelt(crew, own, spellings, place.begin, middle);
  const double goes_on = mass_spelt(crew, own, spellings, middle, place.end);
  if (!(greedy ? ends >= goes_on : coin * (ends + goes_on) < ends)) return -1;
  int32_t best = -1;
  double largest = -1;
  for (int32_t i = place.begin; i < middle; ++i) {
    const double own_mass = spellings.ids[i] < 0 ? 0 : mass(own, spellings.ids[i]);
    if (own_mass > largest) largest = own_mass, best = spellings.ids[i];
  }
  place = spellings.root();
  return best;
}

template <class Block>
ANYDRAFT_HD void sample_row(Block& block, Scratch& scratch, const SampleBatch& batch, int64_t row) {
  const CudaSampleRequest& all = batch.request;
  Crew<Block> crew(block, scratch);
  bool bad = false;
  const Law unread = unread_row(all, row);
  const Part* parts = batch.parts ? batch.parts + row * chunks_of(unread.size) : nullptr;
  const Law law =
      BlockLaws<Block>(crew).law_of(unread, all.params[row], parts, scratch.target_totals, bad);
  int32_t token = law.one_hot;
  if (token < 0) {
    token = crew.pick(law.size, scratch.target_totals, coin_of(all, row, 0),
                      [&](int64_t at) { return mass(law, at); });
  }
  SpellingPlace place{};
  int32_t drafter_id = -1;
  if (batch.result.places) {
    const bool greedy = !(all.params[row].scale > 0);
    if (!bad) drafter_id = stand_behind(crew, law, token, greedy, coin_of(all, row, 1), place);
  } else if (batch.result.drafter_ids && !bad && crew.thread() == 0) {
    drafter_id = law.map ? likeliest_id(law, token) : token;
  }
  if (crew.thread() != 0) return;
  batch.result.tokens[row] = bad ? -1 : token;
  batch.result.status[row] = bad ? CudaStatus::kTargetRow : CudaStatus::kFine;
  if (batch.result.drafter_ids) batch.result.drafter_ids[row] = drafter_id;
  if (batch.result.places) batch.result.places[row] = place;
  if (batch.result.laws) {
    batch.result.laws[row] = {law.scale, law.lower, law.exponent, law.one_hot, law.inverse_total};
  }
}

}  // namespace anydraft::detail
