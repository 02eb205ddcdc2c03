#include "draft/spelling_bridge.h"

namespace anydraft {

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

DrawTask SpellingBridge::task(int32_t node, int32_t width, const RowView& row,
                              int32_t number) const {
  DrawTask task = round_.task(row, psi_.of_psi, width, number);
  task.projection = &round_.pair.projection(true, round_.pair.target->size(), row.cols);
  task.weighing = psi_.weighing;
  task.place = place_of(node);
  return task;
}

}  // namespace anydraft
