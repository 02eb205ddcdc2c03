#include "draft/spelling_bridge.h"

#include <algorithm>

#include "bridge/tli.h"

namespace anydraft {

// Where the drafter token stands that a node is inside of; the root behind a whole one.
DraftTokenTrie::Place SpellingBridge::place_of(int32_t node) const {
  TokenIds begun;
  for (; node > 0 && round_.feeder.token(node) < 0; node = round_.tree.parents[node]) {
    begun.push_back(round_.tree.tokens[node]);
  }
  DraftTokenTrie::Place place = round_.pair.token_trie->root();
  for (auto token = begun.rbegin(); token != begun.rend(); ++token) {
    place = round_.pair.token_trie->next(place, *token);
  }
  return place;
}

Expansion SpellingBridge::draw(int32_t node, int32_t width, const RowsView& rows, int64_t row,
                               int32_t number) {
  const detail::Distribution distribution = make_distribution(rows, row, psi_.weighing);
  const DraftTokenTrie::Place place = place_of(node);
  Expansion drawn;
  drawn.distribution = round_.pair.token_trie->psi(distribution, place, round_.draft.width);
  if (!detail::has_mass(drawn.distribution)) return {};  // nothing that spells: a leaf
  const RowsView psi{drawn.distribution.data(), DType::kFloat32,    1,
                     round_.draft.width,        round_.draft.width, row};
  round_.draw_from(psi, 0, psi_.of_psi, width, number, drawn);
  for (size_t i = 0; i < drawn.children.size(); ++i) {
    const DraftTokenTrie::Place next = round_.pair.token_trie->next(place, drawn.children[i]);
    drawn.fed_as.push_back(ending_token(distribution, next, number + static_cast<int32_t>(i)));
  }
  return drawn;
}

// The drafter token that has been spelt in full, the likeliest of several; -1: it goes on.
int32_t SpellingBridge::ending_token(const detail::Distribution& distribution,
                                     DraftTokenTrie::Place at, int32_t number) const {
  const DraftTokenTrie& token_trie = *round_.pair.token_trie;
  const int32_t end = at.begin + token_trie.ending(at);
  const double ends = detail::mass_of(distribution, token_trie, at.begin, end);
  const double goes_on = detail::mass_of(distribution, token_trie, end, at.end);
  RandomKey own = round_.key(number);
  own.attempt = 1;  // not the uniform that drew the child
  const bool ended =
      round_.sampling.greedy() ? ends >= goes_on : round_.pair.random().chance(ends, goes_on, own);
  if (!ended) return -1;
  int32_t best = at.begin;
  for (int32_t i = at.begin; i < end; ++i) {
    const auto mass = [&](int32_t of) {
      return detail::mass_of(distribution, token_trie, of, of + 1);
    };
    if (mass(i) > mass(best)) best = i;
  }
  return token_trie.drafter_id(best);
}

}  // namespace anydraft
