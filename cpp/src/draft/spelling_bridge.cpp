#include "draft/spelling_bridge.h"

#include <algorithm>

namespace anydraft {

// A row is read once for all the nodes inside its tokens.
const DraftRow& SpellingBridge::prepared(const RowsView& rows, int64_t row) {
  const RowView logits = rows.at(row);
  if (prepared_in_ == round_.taken && prepared_.logits.data == logits.data) return prepared_;
  prepared_in_ = -1;
  prepared_ = {};
  prepared_.logits = logits;
  prepared_.projection = &round_.pair.projection(true, round_.vocab(), rows.cols);
  prepare(prepared_, psi_.weighing);
  prepared_in_ = round_.taken;
  return prepared_;
}

// Where the drafter token stands that a node is inside of; the root behind a whole one.
TriePlace SpellingBridge::place_of(int32_t node) const {
  TokenIds begun;
  for (; node > 0 && round_.feeder.token(node) < 0; node = round_.tree.parents[node]) {
    begun.push_back(round_.tree.tokens[node]);
  }
  const DraftTokenTrie& trie = *round_.pair.token_trie;
  DraftTokenTrie::Place place = trie.root();
  for (auto token = begun.rbegin(); token != begun.rend(); ++token) {
    place = trie.next(place, *token);
  }
  return {place.begin, place.end, place.depth};
}

Expansion SpellingBridge::draw(int32_t node, int32_t width, const RowsView& rows, int64_t row,
                               int32_t number) {
  const DraftRow& whole = prepared(rows, row);
  const TriePlace place = place_of(node);
  auto own = std::make_unique<DraftRow>(place.depth > 0 ? inside(whole, place) : whole);
  Expansion drawn;
  round_.draw_from(std::move(own), psi_.of_psi, width, number, drawn);
  if (drawn.children.empty()) return {};  // nothing that spells: a leaf
  for (size_t i = 0; i < drawn.children.size(); ++i) {
    drawn.fed_as.push_back(fed_as(*drawn.row, drawn.children[i], number + static_cast<int32_t>(i)));
  }
  return drawn;
}

// The drafter token that has been spelt in full, the likeliest of several; -1: it goes on.
int32_t SpellingBridge::fed_as(const DraftRow& row, int32_t token, int32_t number) const {
  const Spelling spelling = spell(row, token);
  RandomKey key = round_.key(number);
  key.attempt = 1;  // not the uniform that drew the child
  const bool ended = round_.sampling.greedy()
                         ? spelling.ends >= spelling.goes_on
                         : round_.pair.random().chance(spelling.ends, spelling.goes_on, key);
  return ended ? spelling.drafter_id : -1;
}

}  // namespace anydraft
