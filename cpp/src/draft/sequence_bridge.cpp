// Drafts in target tokens as the drafter's sequences begin with them: string-level rejection
// sampling with a general stop rule.
#include <algorithm>
#include <limits>

#include "bridge/sequences.h"
#include "draft/bridge.h"
#include "rows/draft_rows.h"

namespace anydraft {
namespace {

// Sequences that are at most this much rarer than the likeliest one share its call.
constexpr double kTogether = 0.25;

// A tree that grows wherever it is told to.
TreeShape any_shape() {
  constexpr int32_t kAny = std::numeric_limits<int32_t>::max() / 2;
  return {{1}, kAny, kAny, 1};
}

// No sequence is drawn. Which ones go on is decided by the stop rule from their masses alone, so
// all of them together give psi, and a child is drawn from psi itself; the sequences that begin
// with it are what its own children's psi is made of. So psi is never "of the drawn token only",
// and verification needs no further call of the drafter for its residual.
class SequenceBridge : public DraftBridge {
 public:
  explicit SequenceBridge(DraftRound& round);
  void start(const TokenIds& committed, int64_t remaining) override;
  // Keeps the row of a trie's node: what is drawn waits for others.
  Expansion draw(int32_t node, int32_t width, const RowView& row, int32_t number) override;
  bool ends(int32_t) const override { return false; }
  bool weighs_itself() const override { return true; }
  std::vector<int32_t> next_frontier() override;
  void finish() override {}
  bool goes_by_text() const override { return true; }
  std::string text_to(int32_t node) const override {  // of what was fed
    return trie_.has_row(node) ? trie_.text(node) : std::string();
  }

 private:
  struct Growth {
    Sequences sequences;
    int32_t rows = 0;  // spent
  };
  std::vector<int32_t> likeliest(Growth& growth);
  void grow(Growth& growth, std::vector<int32_t>& wanted);
  int32_t node_of(const Sequence& sequence);
  bool fits(const Sequence& sequence) const;
  void draw_children(int32_t node);
  void count(const Growth& growth);

  PsiSampling psi_;
  SequenceTrie trie_;            // its nodes are those of the round's tree
  std::vector<Growth> growths_;  // [nodes of the draft's tree]
};

SequenceBridge::SequenceBridge(DraftRound& round)
    : DraftBridge(round),
      psi_(round.sampling),
      trie_(*round.pair.drafter, *round.pair.target, *round.pair.map, *round.pair.token_trie,
            round.pair.options.stop_rule) {}

void SequenceBridge::start(const TokenIds& committed, int64_t remaining) {
  round_.draft.sampling = psi_.of_psi;
  round_.draft.tree = DraftTree(shape_for(round_.pair.options, remaining));
  round_.draft.tree.tokens[0] = committed.back();
  round_.draft.tree.paths[0] = round_.tree.paths[0];
  round_.tree = DraftTree(any_shape());
  trie_.clear();
  growths_.assign(1, {{Sequence{}}, 0});
}

Expansion SequenceBridge::draw(int32_t node, int32_t, const RowView& row, int32_t) {
  trie_.set_row(node, detail::weighed(row, round_.sampling));
  return {};
}

// Where an encoder throws, what has been done so far stands and is not done again.
std::vector<int32_t> SequenceBridge::next_frontier() {
  const DraftTree& tree = round_.draft.tree;
  for (;;) {
    const std::vector<int32_t> frontier = tree.frontier();
    std::vector<int32_t> wanted;
    for (int32_t node : frontier) grow(growths_[node], wanted);
    if (!wanted.empty()) return wanted;
    for (int32_t node : frontier) draw_children(node);
    const bool unsure = round_.chain && round_.confidence < round_.pair.options.draft_confidence;
    if (frontier.empty() || unsure) return {};
  }
}

// Sequences with rows go on; those that need one are added to `wanted`.
void SequenceBridge::grow(Growth& growth, std::vector<int32_t>& wanted) {
  for (bool grown = true; grown;) {
    grown = false;
    const std::vector<int32_t> chosen = likeliest(growth);
    Sequences longer;
    std::vector<int32_t> missing;
    for (int32_t at : chosen) {
      Sequence& sequence = growth.sequences[at];
      const int32_t node = node_of(sequence);
      if (trie_.has_row(node)) {
        trie_.append_continuations(sequence, longer);
        sequence.mass = 0;
        ++growth.rows;
        grown = true;
      } else {
        missing.push_back(node);
      }
    }
    auto& all = growth.sequences;
    all.erase(std::remove_if(all.begin(), all.end(), [](const Sequence& s) { return s.mass == 0; }),
              all.end());
    all.insert(all.end(), longer.begin(), longer.end());
    if (grown) continue;
    for (int32_t node : missing) {
      if (std::find(wanted.begin(), wanted.end(), node) == wanted.end()) wanted.push_back(node);
    }
  }
}

// Those that the rule lets go on now, the likeliest first: what one call of the drafter may ask.
std::vector<int32_t> SequenceBridge::likeliest(Growth& growth) {
  Sequences& all = growth.sequences;
  const int32_t budget = round_.pair.options.stop_rule.rows;
  std::vector<int32_t> chosen;
  if (growth.rows >= budget) return chosen;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].mass * budget >= 1 && fits(all[i]) && !trie_.stops(all[i])) {
      chosen.push_back(static_cast<int32_t>(i));
    }
  }
  std::stable_sort(chosen.begin(), chosen.end(),
                   [&](int32_t a, int32_t b) { return all[a].mass > all[b].mass; });
  size_t count = 0;
  while (count < chosen.size() && static_cast<int32_t>(count) < budget - growth.rows &&
         all[chosen[count]].mass >= kTogether * all[chosen[0]].mass) {
    ++count;
  }
  chosen.resize(count);
  return chosen;
}

int32_t SequenceBridge::node_of(const Sequence& sequence) {
  const int32_t node = trie_.find(sequence);
  if (node < trie_.size()) return node;
  trie_.add(sequence);
  round_.tree.add(sequence.node, sequence.token);
  round_.feeder.add({sequence.token});
  return node;
}

// Whether the sequence still fits the drafter's context.
bool SequenceBridge::fits(const Sequence& sequence) const {
  const int64_t longest = round_.pair.options.draft_context;
  const int64_t depth = trie_.depth(sequence.node) + (sequence.token >= 0);
  return longest == 0 || round_.feeder.length() + depth <= longest;
}

void SequenceBridge::draw_children(int32_t node) {
  DraftTree& tree = round_.draft.tree;
  Growth& growth = growths_[node];
  const int32_t width = round_.pair.merges() ? tree.paths[node] : tree.width_of(node);
  Expansion drawn;
  if (width > 0) {
    const float scale = static_cast<float>(1.4426950408889634 / psi_.of_psi.temperature);
    std::vector<float> psi = trie_.psi(growth.sequences, round_.pair.target->size(), scale);
    const RowView row{psi.data(), DType::kFloat32, round_.pair.target->size(), 0};
    if (round_.backend->has_mass(row)) {
      round_.draft.made.push_back(std::move(psi));  // whose numbers stay where they are
      drawn = round_.backend->draw(round_.task(row, psi_.of_psi, width, round_.next_draws(width)));
      count(growth);
    }
  }
  const int32_t first = tree.size();
  tree.expand(node, drawn.kind, round_.keep_row(drawn), drawn.children, drawn.masses, drawn.paths);
  const Sequences sequences = std::move(growths_[node].sequences);
  growths_.resize(tree.size());
  for (int32_t child = first; child < tree.size(); ++child) {
    growths_[child].sequences = trie_.said(sequences, tree.tokens[child]);
    if (growths_[child].sequences.empty() || round_.request.stops(tree.tokens[child]))
      tree.close(child);
  }
}

// How much of the distribution the rule itself has stopped; and how sure the drafter is of the
// draft so far.
void SequenceBridge::count(const Growth& growth) {
  double all = 0, stopped = 0;
  std::vector<double> by_token(round_.pair.target->size(), 0.0);
  for (const Sequence& sequence : growth.sequences) {
    if (sequence.first < 0) continue;
    all += sequence.mass;
    by_token[sequence.first] += sequence.mass;
    if (sequence.stopped == 1) stopped += sequence.mass;
  }
  round_.confidence *= *std::max_element(by_token.begin(), by_token.end()) / all;
  ++round_.stats.distributions;
  round_.stats.stopped += stopped / all;
}

}  // namespace

std::unique_ptr<DraftBridge> make_sequence_bridge(DraftRound& round) {
  return std::make_unique<SequenceBridge>(round);
}

}  // namespace anydraft
