#include "session/string_draft.h"

#include <algorithm>

#include "anydraft/error.h"

namespace anydraft {

void StringDraft::start(const TokenIds& committed, int64_t remaining) {
  ModelDraft::start(committed, remaining);
  remaining_ = remaining;
}

// Logits past the table (padding) are nobody's tokens.
RowsView StringDraft::known(const RowsView& rows) const {
  RowsView view = rows;
  view.cols = std::min<int64_t>(rows.cols, pair_.drafter->size());
  return view;
}

Expansion StringDraft::draw(int32_t, int32_t width, const RowsView& rows, int64_t row,
                            int32_t uniform) {
  Expansion drawn;
  draw_from(rows, row, sampling_, width, uniform, drawn);
  drawn.kind = ProposalKind::kOneHot;
  drawn.fed_as = drawn.children;
  return drawn;
}

std::vector<int32_t> StringDraft::path_to(int32_t node) const {
  std::vector<int32_t> path;
  for (; node > 0; node = tree_.parents[node]) path.push_back(node);
  std::reverse(path.begin(), path.end());
  return path;
}

std::string StringDraft::text_of(const std::vector<int32_t>& nodes) const {
  std::string text;
  for (int32_t node : nodes) text += pair_.drafter->token_bytes(tree_.tokens[node]);
  return text;
}

// Every string of the tree, as a tree of target tokens.
void StringDraft::finish() {
  for (int32_t node = 1; node < tree_.size(); ++node) {
    const auto child = std::find(tree_.parents.begin(), tree_.parents.end(), node);
    if (child == tree_.parents.end()) insert(target_tokens(node));
  }
}

// An unfinished character is held back; a role stands for itself.
TokenIds StringDraft::target_tokens(int32_t leaf) const {
  std::string bytes = text_of(path_to(leaf));
  bytes.resize(complete_utf8(bytes));
  TokenIds tokens;
  try {
    tokens = pair_.target->encode(bytes);
  } catch (const Error&) {
    return {};  // bytes the target cannot spell
  }
  const int32_t last = tree_.tokens[leaf];
  if (pair_.drafter->is_special(last) && pair_.map->to_target[last] >= 0) {
    tokens.push_back(pair_.map->to_target[last]);
  }
  const auto stop = std::find_if(tokens.begin(), tokens.end(),
                                 [this](int32_t token) { return request_.stops(token); });
  if (stop != tokens.end()) tokens.erase(stop + 1, tokens.end());
  if (static_cast<int64_t>(tokens.size()) > remaining_) tokens.resize(remaining_);
  return tokens;
}

void StringDraft::insert(const TokenIds& tokens) {
  DraftTree& tree = proposal_.tree;
  int32_t node = 0;
  for (int32_t token : tokens) {
    int32_t child = -1;
    for (int32_t at = node + 1; at < tree.size() && child < 0; ++at) {
      if (tree.parents[at] == node && tree.tokens[at] == token) child = at;
    }
    node = child >= 0 ? child : tree.add(node, token);
  }
}

// Of the drafted strings the one that agrees longest with the text.
std::vector<int32_t> StringDraft::taken_path(const TokenIds& committed,
                                             const std::vector<int32_t>& path) const {
  const TokenIds added(committed.end() - static_cast<int64_t>(path.size()) - 1, committed.end());
  const std::string text = pair_.target->decode(added);
  std::vector<int32_t> best;
  size_t longest = 0;
  for (int32_t node = 1; node < tree_.size(); ++node) {
    const std::vector<int32_t> nodes = path_to(node);
    const std::string drafted = text_of(nodes);
    if (drafted.size() > longest && text.compare(0, drafted.size(), drafted) == 0) {
      longest = drafted.size();
      best = nodes;
    }
  }
  return best;
}

}  // namespace anydraft
