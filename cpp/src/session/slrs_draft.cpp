#include "session/slrs_draft.h"

#include <algorithm>

#include "bridge/tli.h"

namespace anydraft {

SlrsDraft::SlrsDraft(const Pair& pair, const Request& request, Stats& stats,
                     std::shared_ptr<DrafterCache> cache)
    : TokenDraft(pair, request, stats, std::move(cache)) {
  if (!sampling_.greedy()) {
    weighing_ = sampling_;
    of_psi_.temperature = sampling_.temperature;
  }
}

std::vector<float> SlrsDraft::distribution_over_target(const RowsView& rows, int64_t row) const {
  const DraftTokenTrie& token_trie = *pair_.token_trie;
  const int64_t width = std::max<int64_t>(pair_.target->size(), target_width_);
  return token_trie.psi(make_distribution(rows, row, weighing_), token_trie.root(), width);
}

// Where the drafter token stands that a node is inside of; the root behind a whole one.
DraftTokenTrie::Place SlrsDraft::place_of(int32_t node) const {
  TokenIds begun;
  for (; node > 0 && drafter_token(node) < 0; node = tree_.parents[node]) {
    begun.push_back(tree_.tokens[node]);
  }
  DraftTokenTrie::Place place = pair_.token_trie->root();
  for (auto token = begun.rbegin(); token != begun.rend(); ++token) {
    place = pair_.token_trie->next(place, *token);
  }
  return place;
}

Expansion SlrsDraft::draw(int32_t node, int32_t width, const RowsView& rows, int64_t row,
                          int32_t uniform) {
  const detail::Distribution distribution = make_distribution(rows, row, weighing_);
  const DraftTokenTrie::Place place = place_of(node);
  Expansion drawn;
  drawn.distribution = pair_.token_trie->psi(distribution, place, proposal_.width);
  if (!detail::has_mass(drawn.distribution)) return {};  // nothing that spells: a leaf
  const RowsView psi{drawn.distribution.data(), DType::kFloat32, 1,
                     proposal_.width,           proposal_.width, row};
  draw_from(psi, 0, of_psi_, width, uniform, drawn);
  for (size_t i = 0; i < drawn.children.size(); ++i) {
    const DraftTokenTrie::Place next = pair_.token_trie->next(place, drawn.children[i]);
    drawn.fed_as.push_back(ending_token(distribution, next, uniform + static_cast<int32_t>(i)));
  }
  return drawn;
}

// The drafter token that has been spelt in full, the likeliest of several; -1: it goes on.
int32_t SlrsDraft::ending_token(const detail::Distribution& distribution, DraftTokenTrie::Place at,
                                int32_t uniform) {
  const DraftTokenTrie& token_trie = *pair_.token_trie;
  const int32_t end = at.begin + token_trie.ending(at);
  const double ends = detail::mass_of(distribution, token_trie, at.begin, end);
  const double goes_on = detail::mass_of(distribution, token_trie, end, at.end);
  RandomKey own = key(uniform);
  own.attempt = 1;  // not the uniform that drew the child
  const bool ended =
      sampling_.greedy() ? ends >= goes_on : pair_.choose().chance(ends, goes_on, own);
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
