#include "draft/bridge.h"

#include <algorithm>

#include "anydraft/error.h"

namespace anydraft {
namespace {

// A draft that is certain is kept most often where it is the likeliest text.
SamplingParams drafter_sampling(Bridge bridge, const DraftRequest& request) {
  SamplingParams greedy;
  greedy.temperature = 0;
  const bool certain = info_of(bridge).certain;
  return request.draft_sampling.value_or(certain ? greedy : request.sampling);
}

}  // namespace

DraftRound::DraftRound(const Pair& of, Bridge by, const DraftRequest& asked, DraftStats& counts,
                       std::shared_ptr<DrafterCache> cache)
    : pair(of),
      bridge(by),
      request(asked),
      stats(counts),
      sampling(drafter_sampling(by, asked)),
      feeder(of, std::move(cache)) {}

RandomKey DraftRound::key(int32_t number) const {
  return {request.sampling.seed.value_or(0), request.random_stream, position,
          static_cast<uint32_t>(number),     Purpose::kDraft,       0};
}

DrawTask DraftRound::task(const RowView& row, const SamplingParams& params, int32_t width,
                          int32_t number) const {
  DrawTask task;
  task.row = row;
  task.params = params;
  task.greedy = sampling.greedy();
  task.kind = kind_used(task.greedy ? ProposalKind::kOneHot : pair.options.scheme, width);
  task.width = width;
  task.key = key(number);
  task.likelihoods = tree.most_nodes() > 0;
  task.merge = pair.merges();
  return task;
}

int32_t DraftRound::keep_row(Expansion& expansion) {
  if (expansion.kind == ProposalKind::kOneHot || expansion.children.empty()) return -1;
  draft.rows.push_back(std::move(expansion.row));
  return static_cast<int32_t>(draft.rows.size()) - 1;
}

DrawTask DraftBridge::task(int32_t, int32_t width, const RowView& row, int32_t number) const {
  DrawTask task = round_.task(row, round_.sampling, width, number);
  if (round_.pair.across() && !info_of(round_.bridge).certain) {
    task.projection = &round_.pair.projection(false, row.cols);
  }
  return task;
}

std::string DraftBridge::text_to(int32_t node) const {
  TokenIds tokens;
  for (int32_t at : round_.tree.path_to(node)) tokens.push_back(round_.tree.tokens[at]);
  return (goes_by_text() ? round_.pair.drafter : round_.pair.target)->decode(tokens);
}

// Of the drafted texts the one that agrees longest.
std::vector<int32_t> DraftBridge::taken_path(const TokenIds& committed,
                                             const std::vector<int32_t>& path) const {
  if (!goes_by_text()) return path;
  const TokenIds added(committed.end() - static_cast<int64_t>(path.size()) - 1, committed.end());
  const std::string text = round_.pair.target->decode(added);
  int32_t best = 0;
  size_t longest = 0;
  for (int32_t node = 1; node < round_.tree.size(); ++node) {
    const std::string drafted = text_to(node);
    if (drafted.size() > longest && text.compare(0, drafted.size(), drafted) == 0) {
      longest = drafted.size();
      best = node;
    }
  }
  return round_.tree.path_to(best);
}

TokenIds read_by(const Vocabulary& target, std::string_view draft) {
  try {
    return target.encode(draft.substr(0, complete_utf8(draft)));
  } catch (const Error&) {
    return {};
  }
}

namespace {

// Drafts as text: what the drafter wrote, in the target's tokens, each for certain. Timor et al.
// 2025, string-level exact match.
class StringBridge : public DraftBridge {
 public:
  using DraftBridge::DraftBridge;
  void start(const TokenIds&, int64_t remaining) override { remaining_ = remaining; }
  // What is drawn is written down: no row says how likely it was.
  Expansion draw(int32_t node, int32_t width, const RowView& row, int32_t number) override {
    Expansion drawn = DraftBridge::draw(node, width, row, number);
    drawn.kind = ProposalKind::kOneHot;
    return drawn;
  }
  bool ends(int32_t token) const override { return round_.pair.drafter->is_special(token); }
  // Every string of the tree, as a tree of target tokens.
  void finish() override {
    for (int32_t node = 1; node < round_.tree.size(); ++node) {
      if (round_.tree.is_leaf(node)) insert(target_tokens(node));
    }
  }
  bool goes_by_text() const override { return true; }

 private:
  TokenIds target_tokens(int32_t leaf) const;
  void insert(const TokenIds& tokens);

  int64_t remaining_ = 0;
};

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

// Drafts in target tokens as the drafter's tokens spell them, each with the distribution it was
// drawn from. Timor et al. 2025, string-level rejection sampling.
//
// A node's children are drawn from psi itself, and only then which drafter token spelt them: first
// whether it ends there (then it is fed, and its own row gives the next distribution) or goes on
// (then the next distribution is psi given what is known of it). So the distribution a child is
// verified with is, to the bit, the one it was drawn from, however psi was rounded; and equal
// children are one node with one state of the drafter.
class SpellingBridge : public DraftBridge {
 public:
  explicit SpellingBridge(DraftRound& round) : DraftBridge(round), psi_(round.sampling) {}
  void start(const TokenIds&, int64_t) override { round_.draft.sampling = psi_.of_psi; }
  DrawTask task(int32_t node, int32_t width, const RowView& row, int32_t number) const override {
    DrawTask task = round_.task(row, psi_.of_psi, width, number);
    task.projection = &round_.pair.projection(true, row.cols);
    task.weighing = psi_.weighing;
    task.place = place_of(node);
    return task;
  }

 private:
  TriePlace place_of(int32_t node) const;

  PsiSampling psi_;
};

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

}  // namespace

std::unique_ptr<DraftBridge> make_bridge(DraftRound& round) {
  switch (round.bridge) {
    case Bridge::kSlem:
      return std::make_unique<StringBridge>(round);
    case Bridge::kSlrs:
      if (round.pair.options.stop_rule.general()) return make_sequence_bridge(round);
      return std::make_unique<SpellingBridge>(round);
    case Bridge::kSame:
    case Bridge::kTli:
    case Bridge::kNone:
    case Bridge::kLookup:
    case Bridge::kText:
    case Bridge::kAuto:
      break;
  }
  return std::make_unique<DraftBridge>(round);
}

}  // namespace anydraft
