#include "session/token_draft.h"

#include <algorithm>
#include <cmath>

#include "bridge/tli.h"

namespace anydraft {

void TokenDraft::start(const TokenIds& committed, int64_t room) {
  ModelDraft::start(committed, room);
  proposal_.width = std::max<int64_t>(pair_.target->size(), target_width_);
  proposal_.sampling = law_sampling();
}

RowsView TokenDraft::known(const RowsView& rows) const {
  RowsView view = rows;
  view.cols = std::min<int64_t>(rows.cols, (across() ? pair_.drafter : pair_.target)->size());
  return view;
}

std::vector<float> TokenDraft::law_over_target(const RowsView& rows, int64_t row) const {
  const int64_t width = std::max<int64_t>(pair_.target->size(), target_width_);
  if (across()) return detail::project(rows, row, *pair_.map, width, sampling_);
  std::vector<float> law(width, -INFINITY);
  for (int64_t i = 0; i < rows.cols; ++i) law[i] = detail::load(rows.row(row), rows.dtype, i);
  return law;
}

Expansion TokenDraft::draw(int32_t, int32_t width, const RowsView& rows, int64_t row,
                           int32_t coin) {
  Expansion drawn;
  drawn.law = law_over_target(rows, row);
  if (!detail::has_mass(drawn.law)) return {};  // nothing on the shared tokens: a leaf
  const RowsView law{drawn.law.data(), DType::kFloat32, 1, proposal_.width, proposal_.width, row};
  draw_from(law, 0, sampling_, width, coin, drawn);
  drawn.fed_as = drawn.children;
  if (!across()) return drawn;
  for (int32_t& id : drawn.fed_as) id = detail::drafter_id(rows, row, *pair_.map, id);
  return drawn;
}

double TokenDraft::acceptance(const RowsView& drafter_row, const detail::Law& target) const {
  const std::vector<float> logits = law_over_target(known(drafter_row), 0);
  if (!detail::has_mass(logits)) return 0;
  const auto width = static_cast<int64_t>(logits.size());
  const RowsView row{logits.data(), DType::kFloat32, 1, width, width, 0};
  SamplingParams params = law_sampling();
  if (sampling_.greedy()) params.temperature = 0;
  const detail::Law law = make_law(row, 0, params);
  double sum = 0;
  for (int64_t i = 0; i < std::min(width, target.size); ++i) {
    sum += std::min(detail::mass(law, i), detail::mass(target, i));
  }
  return sum;
}

void TokenDraft::keep_law(const Expansion& expansion) {
  proposal_.laws.insert(proposal_.laws.end(), expansion.law.begin(), expansion.law.end());
}

}  // namespace anydraft
