#include "draft/bridge.h"

#include "draft/sequence_bridge.h"
#include "draft/spelling_bridge.h"
#include "draft/string_bridge.h"

namespace anydraft {
namespace {

// A draft that is certain is kept most often where it is the likeliest text.
SamplingParams drafter_sampling(const Pair& pair, const DraftRequest& request) {
  SamplingParams greedy;
  greedy.temperature = 0;
  const bool certain = info_of(pair.options.bridge).certain;
  return request.draft_sampling.value_or(certain ? greedy : request.sampling);
}

}  // namespace

DraftRound::DraftRound(const Pair& of, const DraftRequest& asked, DraftStats& counts,
                       std::shared_ptr<DrafterCache> cache)
    : pair(of),
      request(asked),
      stats(counts),
      sampling(drafter_sampling(of, asked)),
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
  const Pair& pair = round_.pair;
  if (pair.across() && !info_of(pair.options.bridge).certain) {
    task.projection = &pair.projection(false, pair.target->size(), row.cols);
  }
  return task;
}

std::string DraftBridge::text_to(int32_t node) const {
  TokenIds tokens;
  for (int32_t at : round_.tree.path_to(node)) tokens.push_back(round_.tree.tokens[at]);
  return round_.pair.target->decode(tokens);
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

std::unique_ptr<DraftBridge> make_bridge(DraftRound& round) {
  switch (round.pair.options.bridge) {
    case Bridge::kSlem:
      return std::make_unique<StringBridge>(round);
    case Bridge::kSlrs:
      if (round.pair.options.stop_rule.general()) return std::make_unique<SequenceBridge>(round);
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
