// One token from a row, by a block.
#pragma once

#include "anydraft/cuda.h"
#include "batch.cuh"
#include "block_laws.cuh"
#include "scan.cuh"

namespace anydraft::detail {

struct SampleBatch {
  CudaSampleRequest request;
  CudaSampleResult result;
  Part* parts;  // [rows, chunks]
};

ANYDRAFT_HD inline double coin_of(const CudaSampleRequest& all, int64_t row) {
  const CoinsView& coins = all.coins;
  if (coins.pick) return coins.pick[row];
  CoinKey key;
  key.seed = coins.seeds ? coins.seeds[row] : coins.seed;
  key.request = coins.requests ? coins.requests[row] : static_cast<uint32_t>(row);
  key.position = coins.positions ? coins.positions[row] : 0;
  key.node = all.nodes ? all.nodes[row] : 0;
  key.purpose = all.purpose;
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
    token = crew.pick(law.size, scratch.target_totals, coin_of(all, row),
                      [&](int64_t at) { return mass(law, at); });
  }
  if (crew.thread() != 0) return;
  batch.result.tokens[row] = bad ? -1 : token;
  batch.result.status[row] = bad ? CudaStatus::kTargetRow : CudaStatus::kFine;
  if (batch.result.drafter_ids) {
    batch.result.drafter_ids[row] = bad ? -1 : law.map ? likeliest_id(law, token) : token;
  }
  if (batch.result.laws) {
    batch.result.laws[row] = {law.scale, law.lower, law.exponent, law.one_hot, law.inverse_total};
  }
}

}  // namespace anydraft::detail
