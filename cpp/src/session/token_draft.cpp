#include "session/token_draft.h"

#include <algorithm>
#include <cmath>

#include "bridge/tli.h"

namespace anydraft {

void TokenDraft::start(const TokenIds& committed, int64_t remaining) {
  ModelDraft::start(committed, remaining);
  proposal_.width = std::max<int64_t>(pair_.target->size(), target_width_);
  proposal_.sampling = distribution_sampling();
}

RowsView TokenDraft::known(const RowsView& rows) const {
  RowsView view = rows;
  view.cols = std::min<int64_t>(rows.cols, (across() ? pair_.drafter : pair_.target)->size());
  return view;
}

std::vector<float> TokenDraft::distribution_over_target(const RowsView& rows, int64_t row) const {
  const int64_t width = std::max<int64_t>(pair_.target->size(), target_width_);
  if (across()) return detail::project(rows, row, *pair_.map, width, sampling_);
  std::vector<float> distribution(width, -INFINITY);
  for (int64_t i = 0; i < rows.cols; ++i)
    distribution[i] = detail::load(rows.row(row), rows.dtype, i);
  return distribution;
}

Expansion TokenDraft::draw(int32_t, int32_t width, const RowsView& rows, int64_t row,
                           int32_t uniform) {
  Expansion drawn;
  drawn.distribution = distribution_over_target(rows, row);
  if (!detail::has_mass(drawn.distribution)) return {};  // nothing on the shared tokens: a leaf
  const RowsView distribution{drawn.distribution.data(), DType::kFloat32, 1,
                              proposal_.width,           proposal_.width, row};
  draw_from(distribution, 0, sampling_, width, uniform, drawn);
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

void TokenDraft::keep_distribution(const Expansion& expansion) {
  proposal_.distributions.insert(proposal_.distributions.end(), expansion.distribution.begin(),
                                 expansion.distribution.end());
}

}  // namespace anydraft
