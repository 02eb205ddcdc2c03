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

template <int width16, class Block>
ANYDRAFT_HD void scan_sample_unit(Block& block, const SampleBatch& batch, int64_t unit) {
  const RowsView& rows = batch.request.logits;
  const int at_once = chunks_at_once(rows.dtype, width16), chunks = chunks_of(rows.cols);
  const int64_t units = (chunks + at_once - 1) / at_once, row = unit / units;
  if (row >= rows.rows) return;
  scan_chunks<width16>(block, rows.row(row), rows.dtype, rows.cols,
                       static_cast<int>(unit % units) * at_once,
                       scale_of_parts(batch.request.params[row]), batch.parts + row * chunks);
}

template <class Block>
ANYDRAFT_HD void sample_row(Block& block, Scratch& scratch, const SampleBatch& batch, int64_t row) {
  const CudaSampleRequest& all = batch.request;
  Crew<Block> crew(block, scratch);
  bool bad = false;
  const Part* parts = batch.parts ? batch.parts + row * chunks_of(all.logits.cols) : nullptr;
  const Law law = BlockLaws<Block>(crew).law_of(all.logits, row, all.params[row], parts,
                                                scratch.target_totals, bad);
  int32_t token = law.one_hot;
  if (token < 0) {
    token = crew.pick(law.size, scratch.target_totals, coin_of(all, row),
                      [&](int64_t at) { return mass(law, at); });
  }
  if (crew.thread() != 0) return;
  batch.result.tokens[row] = bad ? -1 : token;
  batch.result.status[row] = bad ? CudaStatus::kTargetRow : CudaStatus::kFine;
  if (batch.result.laws) {
    batch.result.laws[row] = {law.scale, law.lower, law.exponent, law.one_hot, law.inverse_total};
  }
}

}  // namespace anydraft::detail
