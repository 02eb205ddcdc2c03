#include "draft/string_bridge.h"

#include <algorithm>

#include "anydraft/error.h"

namespace anydraft {

TokenIds read_by(const Vocabulary& target, std::string_view draft) {
  try {
    return target.encode(draft.substr(0, complete_utf8(draft)));
  } catch (const Error&) {
    return {};
  }
}

// What is drawn is written down: no row says how likely it was.
Expansion StringBridge::draw(int32_t node, int32_t width, const RowView& row, int32_t number) {
  Expansion drawn = DraftBridge::draw(node, width, row, number);
  drawn.kind = ProposalKind::kOneHot;
  return drawn;
}

std::string StringBridge::text_to(int32_t node) const {
  std::string text;
  for (int32_t at : round_.tree.path_to(node)) {
    text += round_.pair.drafter->token_bytes(round_.tree.tokens[at]);
  }
  return text;
}

// Every string of the tree, as a tree of target tokens.
void StringBridge::finish() {
  for (int32_t node = 1; node < round_.tree.size(); ++node) {
    if (round_.tree.is_leaf(node)) insert(target_tokens(node));
  }
}

// A role stands for itself.
TokenIds StringBridge::target_tokens(int32_t leaf) const {
  TokenIds tokens = read_by(*round_.pair.target, text_to(leaf));
  const int32_t last = round_.tree.tokens[leaf];
  if (round_.pair.drafter->is_special(last) && round_.pair.map->to_target[last] >= 0) {
    tokens.push_back(round_.pair.map->to_target[last]);
  }
  const auto stop = std::find_if(tokens.begin(), tokens.end(),
                                 [this](int32_t token) { return round_.request.stops(token); });
  if (stop != tokens.end()) tokens.erase(stop + 1, tokens.end());
  if (static_cast<int64_t>(tokens.size()) > remaining_) tokens.resize(remaining_);
  return tokens;
}

void StringBridge::insert(const TokenIds& tokens) {
  DraftTree& tree = round_.draft.tree;
  int32_t node = 0;
  for (int32_t token : tokens) {
    const int32_t child = tree.child(node, token);
    node = child >= 0 ? child : tree.add(node, token);
  }
}

}  // namespace anydraft
