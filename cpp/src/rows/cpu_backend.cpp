#include "rows/cpu_backend.h"

#include <cmath>

#include "base/parallel.h"
#include "rows/draft_rows.h"

namespace anydraft {

namespace {

// Filters, temperature; not the seed.
bool same_distribution(const SamplingParams& a, const SamplingParams& b) {
  return a.temperature == b.temperature && a.top_k == b.top_k && a.top_p == b.top_p &&
         a.min_p == b.min_p;
}

// A greedy drafter's children are its likeliest, however large its logits are.
SamplingParams params_of(const DrawTask& task) {
  SamplingParams params = task.params;
  if (task.greedy) params.temperature = 0;
  return params;
}

}  // namespace

std::unique_ptr<DraftRow> CpuBackend::row_of(const DrawTask& task) {
  const bool spelt = task.projection && task.projection->spelt;
  const bool known = task.place.depth > 0 && weighed_.logits.data == task.row.data &&
                     weighed_.projection == task.projection &&
                     same_distribution(weighed_by_, task.weighing);
  if (known) return std::make_unique<DraftRow>(inside(weighed_, task.place));
  auto row = std::make_unique<DraftRow>();
  row->logits = task.row;
  row->projection = task.projection;
  row->place = task.place;
  prepare(*row, spelt && !task.greedy ? task.weighing : params_of(task));
  if (spelt) {
    weighed_ = inside(*row, {});
    weighed_by_ = task.weighing;
  }
  return row;
}

Expansion CpuBackend::draw(const DrawTask& task) {
  Expansion drawn;
  drawn.row = row_of(task);
  std::vector<int32_t>& children = drawn.children;
  children.resize(task.width);
  children.resize(
      random_->draw(task.kind, *drawn.row, params_of(task), task.width, task.key, children.data()));
  if (children.empty()) return {};
  drawn.kind = task.kind;
  if (task.merge) merge_equal(children, drawn.paths);
  drawn.masses.assign(children.size(), 1);
  if (task.likelihoods) {
    likelihoods(*drawn.row, children.data(), static_cast<int32_t>(children.size()),
                drawn.masses.data());
  }
  for (size_t i = 0; i < children.size(); ++i) {
    drawn.fed_as.push_back(fed_as(task, *drawn.row, children[i], static_cast<int32_t>(i)));
  }
  return drawn;
}

// Of a spelt row the drafter token that has been spelt in full, the likeliest of several; -1: it
// goes on.
int32_t CpuBackend::fed_as(const DrawTask& task, const DraftRow& row, int32_t token,
                           int32_t child) const {
  if (!task.projection || !task.projection->spelt) return drafter_id(row, token);
  const Spelling spelling = spell(row, token);
  RandomKey key = task.key;
  key.node += static_cast<uint32_t>(child);
  key.attempt = 1;  // not the uniform that drew the child
  const bool ended = task.greedy ? spelling.ends >= spelling.goes_on
                                 : random_->chance(spelling.ends, spelling.goes_on, key);
  return ended ? spelling.drafter_id : -1;
}

bool CpuBackend::has_mass(const RowView& row) {
  for (int64_t i = 0; i < row.cols; ++i) {
    if (detail::load(row.data, row.dtype, i) != -INFINITY) return true;
  }
  return false;
}

void CpuBackend::judge(const std::vector<Judgement*>& trees) {
  const auto judge_one = [&](int64_t i) {
    Judgement& tree = *trees[i];
    try {
      tree.result = random_->judge(tree.request);
    } catch (const std::exception&) {
      tree.error = std::current_exception();
    }
  };
  const int64_t vocab = trees.empty() ? 0 : trees[0]->request.vocabulary();
  detail::parallel_for(static_cast<int64_t>(trees.size()), judge_one, 2 * vocab);
}

}  // namespace anydraft
