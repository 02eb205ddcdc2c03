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

std::string TokenDraft::text_to(int32_t node) const {
  TokenIds path;
  for (; node > 0; node = tree_.parents[node]) path.push_back(tree_.tokens[node]);
  std::reverse(path.begin(), path.end());
  return pair_.target->decode(path);
}

void TokenDraft::keep_law(const Expansion& expansion) {
  proposal_.laws.insert(proposal_.laws.end(), expansion.law.begin(), expansion.law.end());
}

}  // namespace anydraft
