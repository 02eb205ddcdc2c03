// A small service: several requests at once on a model that fails now and then, one of them given
// up half way. Prints the library's version, then each text. Usage: consumer TABLE.
#include <anydraft/cuda.h>
#include <anydraft/draft.h>
#include <anydraft/engine.h>
#include <anydraft/error.h>
#include <anydraft/random.h>
#include <anydraft/retokenizer.h>
#include <anydraft/sampling.h>
#include <anydraft/threads.h>
#include <anydraft/verify.h>
#include <anydraft/version.h>
#include <anydraft/vocabulary_file.h>

#include <cstdio>
#include <map>
#include <memory>
#include <stdexcept>
#include <vector>

using anydraft::Feed;

// After a token comes one that depends on the one before it too: caches must be right.
class Model {
 public:
  Model(int32_t width, int fails_every) : width_(width), fails_every_(fails_every) {}

  std::vector<float> run(const std::vector<Feed>& feeds) {
    std::vector<float> logits;
    for (const Feed& feed : feeds) append(feed, logits);
    // Half of what can go wrong: the caches have been cut, the rows are lost.
    if (fails_every_ > 0 && ++calls_ % fails_every_ == 0) throw std::runtime_error("model");
    return logits;
  }
  void drop(int64_t cache) { caches_.erase(cache); }
  bool empty() const { return caches_.empty(); }

 private:
  struct Slot {
    int32_t token, before;
  };
  void append(const Feed& feed, std::vector<float>& logits) {
    std::vector<Slot>& cache = caches_[feed.request];
    std::vector<Slot> kept(cache.begin(), cache.begin() + feed.keep);
    for (int32_t slot : feed.keep_also) kept.push_back(cache.at(static_cast<size_t>(slot)));
    const size_t first = kept.size();
    for (size_t i = 0; i < feed.tokens.size(); ++i) {
      const int32_t parent = feed.parents[i];
      const size_t at = parent >= 0 ? first + static_cast<size_t>(parent) : first - 1;
      kept.push_back({feed.tokens[i], at < kept.size() ? kept[at].token : 0});
      if (i + static_cast<size_t>(feed.rows) < feed.tokens.size()) continue;
      const int32_t next = (3 * kept.back().token + 5 * kept.back().before + 7) % width_;
      for (int32_t id = 0; id < width_; ++id) logits.push_back(id == next ? 9.0f : 0.0f);
    }
    cache = std::move(kept);
  }

  int32_t width_;
  int fails_every_, calls_ = 0;
  std::map<int64_t, std::vector<Slot>> caches_;
};

// The texts of four requests, the second of them cancelled.
static std::vector<std::string> serve(std::shared_ptr<const anydraft::Vocabulary> vocabulary,
                                      const anydraft::EngineOptions& options, int fails_every) {
  Model target(vocabulary->size(), fails_every), drafter(vocabulary->size(), fails_every);
  anydraft::Engine engine(vocabulary, vocabulary, options);
  std::vector<int64_t> ids;
  for (const char* prompt : {"one", "two", "three", "four"}) {
    anydraft::Request request;
    request.prompt = vocabulary->encode(prompt);
    request.sampling.seed = ids.size();
    request.max_tokens = 12 + static_cast<int32_t>(ids.size());
    ids.push_back(engine.add(request));
  }
  for (auto work = engine.next(); work.model != anydraft::ModelRole::kIdle; work = engine.next()) {
    Model& model = work.model == anydraft::ModelRole::kTarget ? target : drafter;
    try {
      const auto logits = std::make_shared<const std::vector<float>>(model.run(work.feeds));
      const int64_t width = vocabulary->size();
      // The engine reads a drafter's rows again when it judges the drafts, so it holds them.
      engine.feed(work,
                  {logits->data(), anydraft::DType::kFloat32,
                   static_cast<int64_t>(logits->size()) / width, width, width},
                  logits);
    } catch (const std::runtime_error&) {
      engine.failed(work);  // and next() says how to go on
    }
    if (engine.emitted(ids[0]).size() > 5) engine.cancel(ids[1]);
  }
  std::vector<std::string> texts;
  for (int64_t id : ids) {
    anydraft::TokenIds tokens;
    for (const anydraft::Emitted& emitted : engine.emitted(id)) tokens.push_back(emitted.token);
    texts.push_back(engine.finish(id) == anydraft::Finish::kCancelled ? "(cancelled)"
                                                                      : vocabulary->decode(tokens));
    target.drop(id);
    drafter.drop(id + 1);
    engine.forget(id);
  }
  if (!target.empty() || !drafter.empty()) throw std::logic_error("a cache of no request");
  return texts;
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto vocabulary =
      std::make_shared<const anydraft::Vocabulary>(anydraft::read_vocabulary(argv[1]));
  anydraft::EngineOptions options;
  options.bridge = anydraft::Bridge::kSame;
  const std::vector<std::string> texts = serve(vocabulary, options, 0);
  options.tree.widths = {2, 2};
  options.scheme = anydraft::ProposalKind::kSpecHub;
  if (serve(vocabulary, options, 3).size() != texts.size()) return 1;
  options.tree = {};
  if (serve(vocabulary, options, 3) != texts) return 1;  // what failed changed nothing
  std::puts(anydraft::version());
  for (const std::string& text : texts) std::puts(text.c_str());
  return 0;
}
