// Rows in memory.
#pragma once

#include "rows/random_source.h"
#include "rows/row_backend.h"

namespace anydraft {

class CpuBackend : public RowBackend {
 public:
  explicit CpuBackend(std::shared_ptr<RandomSource> random) : random_(std::move(random)) {}

  void begin(const std::vector<DrawTask>&) override { weighed_ = {}; }
  Expansion draw(const DrawTask& task) override;
  bool has_mass(const RowView& row) override;
  double confidence(const RowView& row) override { return anydraft::confidence(row); }
  // On the threads there are.
  void judge(const std::vector<Judgement*>& trees) override;

 private:
  std::unique_ptr<DraftRow> row_of(const DrawTask& task);
  int32_t fed_as(const DrawTask& task, const DraftRow& row, int32_t token, int32_t child) const;

  std::shared_ptr<RandomSource> random_;
  DraftRow weighed_;  // the last `spelt` row: read once for all nodes inside its tokens
  SamplingParams weighed_by_;
};

}  // namespace anydraft
