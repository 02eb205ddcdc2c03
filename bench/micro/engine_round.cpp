// The engine's own time for a request's round: no model is called, and rows are so narrow that
// reading them takes no time. Two models that know the text: string-level exact match, chains.
//
//   bench_engine_round TARGET.table DRAFTER.table TEXT.txt [DRAFT_LENGTH]
//
// The text's ids must be below kColumns in both vocabularies.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "anydraft/engine.h"
#include "anydraft/threads.h"
#include "anydraft/vocabulary_file.h"

namespace anydraft {
namespace {

constexpr int64_t kColumns = 1024;
constexpr int64_t kPrompt = 16;  // words of the text that are given

using Clock = std::chrono::steady_clock;

// Behind each token of the text the next one, for certain.
struct Replay {
  TokenIds ids;
  std::vector<float> logits;
  std::vector<float> stacked;  // of feeds that do not lie side by side

  explicit Replay(TokenIds text) : ids(std::move(text)), logits(ids.size() * kColumns, 0) {
    for (size_t i = 0; i + 1 < ids.size(); ++i) logits[i * kColumns + ids[i + 1]] = 30;
  }
  RowsView operator()(const std::vector<Feed>& feeds) {
    const auto first = [](const Feed& feed) {
      return feed.positions[feed.positions.size() - static_cast<size_t>(feed.rows)];
    };
    if (feeds.size() == 1) {
      return {logits.data() + first(feeds[0]) * kColumns, DType::kFloat32, feeds[0].rows, kColumns,
              kColumns};
    }
    stacked.clear();
    for (const Feed& feed : feeds) {
      const float* from = logits.data() + first(feed) * kColumns;
      stacked.insert(stacked.end(), from, from + feed.rows * kColumns);
    }
    const auto rows = static_cast<int64_t>(stacked.size()) / kColumns;
    return {stacked.data(), DType::kFloat32, rows, kColumns, kColumns};
  }
};

struct Cost {
  double microseconds;  // of a request's round, without the models
  double accepted;      // tokens of a round
};

Cost decode(const std::shared_ptr<const Vocabulary>& target,
            const std::shared_ptr<const Vocabulary>& drafter, Replay& says, Replay& drafts,
            int32_t draft_length, int requests) {
  EngineOptions options;
  options.bridge = Bridge::kSlem;
  options.draft_length = draft_length;
  Engine engine(target, drafter, options);
  Request request;
  request.prompt.assign(says.ids.begin(), says.ids.begin() + kPrompt);
  request.sampling.temperature = 0;
  request.max_tokens = static_cast<int32_t>(says.ids.size() - kPrompt - 16);
  std::vector<int64_t> ids;
  for (int i = 0; i < requests; ++i) ids.push_back(engine.add(request));
  double own = 0;
  auto begun = Clock::now();
  for (;;) {
    const Work work = engine.next();
    own += std::chrono::duration<double, std::micro>(Clock::now() - begun).count();
    if (work.model == ModelRole::kIdle) break;
    const RowsView rows = (work.model == ModelRole::kTarget ? says : drafts)(work.feeds);
    begun = Clock::now();
    engine.feed(work, rows);
  }
  int64_t rounds = 0, accepted = 0;
  for (int64_t id : ids) {
    rounds += engine.stats(id).target_calls;
    accepted += engine.stats(id).accepted;
    TokenIds text(says.ids.begin() + kPrompt, says.ids.end());
    for (const Emitted& token : engine.emitted(id)) {
      if (token.token != text[&token - engine.emitted(id).data()]) std::abort();
    }
  }
  return {own / static_cast<double>(rounds), static_cast<double>(accepted) / rounds};
}

int run(int count, char** arguments) {
  if (count < 4) return 2;
  const auto target = std::make_shared<Vocabulary>(read_vocabulary(arguments[1]));
  const auto drafter = std::make_shared<Vocabulary>(read_vocabulary(arguments[2]));
  std::ifstream file(arguments[3], std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  Replay says(target->encode(text)), drafts(drafter->encode(text));
  const int32_t length = count > 4 ? std::atoi(arguments[4]) : 4;
  set_threads(1);
  for (const int requests : {1, 8}) {
    std::vector<Cost> turns;
    for (int turn = 0; turn < 21; ++turn) {
      turns.push_back(decode(target, drafter, says, drafts, length, requests));
    }
    std::nth_element(turns.begin(), turns.begin() + 10, turns.end(),
                     [](Cost a, Cost b) { return a.microseconds < b.microseconds; });
    std::printf("%d requests: %.1f us a request's round, %.2f accepted\n", requests,
                turns[10].microseconds, turns[10].accepted);
  }
  return 0;
}

}  // namespace
}  // namespace anydraft

int main(int count, char** arguments) { return anydraft::run(count, arguments); }
