#include "anydraft/drafter.h"

#include <cmath>
#include <utility>

#include "anydraft/error.h"
#include "base/shown.h"
#include "draft/model_source.h"
#include "rows/cpu_backend.h"
#include "rows/draft_rows.h"

namespace anydraft {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorKind::kValue, "[Drafter] expected " + what);
}

constexpr int32_t kLongestDraft = 1 << 16;

// Whether a tree's paths part at the root alone, where drawn paths merge.
bool is_paths(TreeShape shape) {
  if (!shape.widths.empty()) shape.widths.erase(shape.widths.begin());
  return shape.is_chain();
}

// The nodes of a tree that a text went along behind its root.
std::vector<int32_t> path_along(const DraftTree& tree, const TokenIds& text, size_t from) {
  std::vector<int32_t> path;
  for (int32_t at = 0; from < text.size() && (at = tree.child(at, text[from])) > 0; ++from) {
    path.push_back(at);
  }
  return path;
}

}  // namespace

void check_shape(const char* who, const char* model, const std::vector<Feed>& feeds,
                 const RowsView& logits) {
  int64_t expected = 0;
  for (const Feed& feed : feeds) expected += feed.rows;
  if (logits.rows == expected && logits.cols >= 1) return;
  throw Error(ErrorKind::kValue, std::string("[") + who + "] expected logits [" +
                                     std::to_string(expected) + ", vocab] from the " + model +
                                     ", got [" + std::to_string(logits.rows) + ", " +
                                     std::to_string(logits.cols) + "]");
}

const std::vector<BridgeInfo>& bridges() {
  static const std::vector<BridgeInfo> all = {
#define ANYDRAFT_BRIDGE(name, enumerator, model, across, certain, source) \
  {#name, model, across, certain, source},
#include "anydraft/bridges.def"
#undef ANYDRAFT_BRIDGE
  };
  return all;
}

const BridgeInfo& info_of(Bridge bridge) { return bridges()[static_cast<size_t>(bridge)]; }

Bridge bridge_by_name(const std::string& name) {
  std::string known;
  for (const BridgeInfo& info : bridges()) {
    if (name == info.name) return static_cast<Bridge>(&info - bridges().data());
    known += (known.empty() ? "" : ", ") + std::string(info.name);
  }
  fail("a bridge out of " + known + ", got " + name);
}

void DrafterOptions::validate() const {
  if (draft_length < 0 || draft_length > kLongestDraft) {
    fail("draft_length in [0, " + std::to_string(kLongestDraft) + "], got " +
         std::to_string(draft_length));
  }
  if (!(draft_confidence >= 0 && draft_confidence <= 1)) {
    fail("draft_confidence in [0, 1], got " + shown(draft_confidence));
  }
  if (!(draft_cost >= 0 && std::isfinite(draft_cost))) {
    fail("a finite draft_cost >= 0, got " + shown(draft_cost));
  }
  for (size_t rows = 0; rows < row_costs.size(); ++rows) {
    const double cost = row_costs[rows];
    if (!(cost >= 0 && std::isfinite(cost)) || (rows > 0 && cost == 0)) {
      fail("finite row_costs, above 0 for one row and more, got " + shown(cost));
    }
  }
  tree.validate();
  stop_rule.validate();
  if ((bridge == Bridge::kText) != static_cast<bool>(expect)) {
    fail("expect with bridge text, and with no other");
  }
  if (stop_rule.general() && bridge != Bridge::kSlrs) {
    fail("the stop rule of one drafter token for every bridge but \"slrs\", got another");
  }
  if (scheme == ProposalKind::kSparse) {
    fail("a sampling scheme over the drafter's rows, got sparse");
  }
  if (!verifier) return;
  const bool certain = info_of(bridge).certain && bridge != Bridge::kNone;
  const ProposalKind proposed = certain ? ProposalKind::kOneHot : scheme;
  const std::string name = verifiers()[static_cast<size_t>(*verifier)].name;
  if (!takes(*verifier, proposed)) {
    fail(std::string("a verifier that takes proposals of kind ") + name_of(proposed) + ", got " +
         name);
  }
  const DraftShape shape = traits_of(*verifier).shape;
  if (shape == DraftShape::kChain && certain) {
    fail("drafts that are drawn with verifier " + name + ", got those of bridge " +
         info_of(bridge).name + ", which are certain");
  }
  if (shape == DraftShape::kChain && !tree.is_chain()) {
    fail("a chain with verifier " + name + ", got a tree");
  }
  if (shape == DraftShape::kPaths && !is_paths(tree)) {
    fail("a tree like 4,1,1 (paths that only merge) with verifier " + name);
  }
}

namespace {

[[noreturn]] void fail_on_device(const std::string& what) {
  fail(what + " with rows on a CUDA device; rows in memory take it");
}

void check_device(const DrafterOptions& options) {
  if (options.bridge == Bridge::kAuto) fail_on_device("a bridge by name, got auto");
  if (options.bridge == Bridge::kSlrs && options.stop_rule.general()) {
    fail_on_device("a stop rule of one drafter token for bridge slrs, got a general one");
  }
  if (options.bridge == Bridge::kSlrs && !options.tree.is_chain()) {
    fail_on_device("a chain for bridge slrs, got a tree");
  }
  if (options.random_source) fail_on_device("uniforms by key, got another random source");
}

}  // namespace

std::unique_ptr<DraftSource> make_source(const Pair& pair, const DraftRequest& request,
                                         DraftStats& stats, DraftPolicy* policy) {
  switch (pair.options.bridge) {
    case Bridge::kAuto:
      return make_auto_source(pair, request, stats, policy);
    case Bridge::kLookup:
    case Bridge::kText:
    case Bridge::kNone:
      return make_text_source(pair, policy);
    case Bridge::kSlrs:
      if (pair.options.stop_rule.rows == 0) return make_text_source(pair, nullptr);
      break;
    case Bridge::kSame:
    case Bridge::kTli:
    case Bridge::kSlem:
      break;
  }
  return std::make_unique<ModelSource>(pair, pair.options.bridge, request, stats, policy);
}

const ProjectionView& Pair::projection(bool spelt, int64_t draft_vocab) const {
  std::unique_ptr<const Projection>& kept = projections[{spelt, draft_vocab}];
  if (!kept && spelt) {
    kept = std::make_unique<Projection>(*token_trie, drafter->size(), target->size(), draft_vocab);
  } else if (!kept) {
    kept = std::make_unique<Projection>(*map, target->size(), draft_vocab);
  }
  return kept->view();
}

namespace {

// Whether the text is the same whatever is drafted.
bool text_is_fixed(const DrafterOptions& options, const SamplingParams& sampling) {
  const bool matched = !options.verifier || *options.verifier == Verifier::kMatch;
  return sampling.greedy() || (info_of(options.bridge).certain && matched);
}

}  // namespace

struct Drafter::State {
  State(const Pair& pair, DraftRequest asked)
      : request(std::move(asked)),
        policy(pair.options.auto_length ? std::make_optional<DraftPolicy>(pair.options)
                                        : std::nullopt),
        source(make_source(pair, request, stats, policy ? &*policy : nullptr)),
        by_load(!request.seeded || text_is_fixed(pair.options, request.sampling)) {}

  DraftRequest request;
  DraftStats stats;
  std::optional<DraftPolicy> policy;  // where lengths are automatic
  std::unique_ptr<DraftSource> source;
  bool by_load;              // the policy may go by how many requests run
  int64_t calls_before = 0;  // of the model, when the round began
  TokenIds context;          // what the last draft stands below
  bool settled = true;       // nothing of that draft is to be looked at any more
  std::exception_ptr error;
  std::vector<std::shared_ptr<const void>> held;  // rows that the draft reads
};

Drafter::Drafter(std::shared_ptr<const Vocabulary> target,
                 std::shared_ptr<const Vocabulary> drafter, DrafterOptions options,
                 std::shared_ptr<const VocabularyMap> map,
                 std::shared_ptr<const DraftTokenTrie> token_trie)
    : pair_(new Pair{std::move(target),
                     std::move(drafter),
                     std::move(map),
                     std::move(token_trie),
                     std::move(options),
                     {}}) {
  Pair& pair = *pair_;
  const auto& random = pair.options.random_source;
  cpu_ = std::make_unique<CpuBackend>(random ? random : std::make_shared<RandomSource>());
  if (!pair.target) fail("a target vocabulary, got none");
  pair.options.validate();
  if (!pair.across()) return;
  if (!pair.drafter) fail("a drafter vocabulary for this bridge, got none");
  if (!pair.map) pair.map = std::make_shared<VocabularyMap>(*pair.drafter, *pair.target);
  const Bridge bridge = pair.options.bridge;
  if (bridge == Bridge::kTli && pair.map->shared == 0) {
    throw Error(ErrorKind::kVocabulary,
                "[Drafter] expected vocabularies that share tokens for bridge \"tli\", got none in "
                "common: bridge=\"slem\" needs none");
  }
  if (bridge != Bridge::kSlrs && bridge != Bridge::kAuto) return;
  if (!pair.token_trie) {
    pair.token_trie = std::make_shared<DraftTokenTrie>(*pair.drafter, *pair.target, *pair.map);
  }
  if (bridge == Bridge::kSlrs && pair.token_trie->size() == 0) {
    throw Error(ErrorKind::kVocabulary,
                "[Drafter] expected drafter tokens whose bytes the target can spell for bridge "
                "\"slrs\", got none");
  }
}

Drafter::~Drafter() = default;

// What asks the host to read whole rows is refused: nothing copies them there unseen.
RowBackend& Drafter::rows_on(const Device& device) {
  if (!device.cuda) return *cpu_;
  if (!cuda_) {
    check_device(pair_->options);
    cuda_ = make_cuda_backend();
  }
  cuda_->use(device);
  return *cuda_;
}

Drafter::State* Drafter::find(int64_t id) const {
  const auto found = requests_.find(id);
  return found == requests_.end() ? nullptr : found->second.get();
}

Drafter::State& Drafter::state(int64_t id) const {
  if (State* request = find(id)) return *request;
  fail("the id of a request, got " + std::to_string(id));
}

void Drafter::add(int64_t id, DraftRequest request) {
  request.sampling.validate();
  if (request.draft_sampling) request.draft_sampling->validate();
  if (has(id)) fail("an id that is not there yet, got " + std::to_string(id));
  requests_.emplace(id, std::make_unique<State>(*pair_, std::move(request)));
}

void Drafter::forget(int64_t id) { requests_.erase(id); }

void Drafter::propose(int64_t id, const TokenIds& context, int64_t remaining, int64_t together) {
  State& request = state(id);
  if (context.empty()) fail("a context of at least one token, got an empty one");
  if (together < 1) fail("together >= 1, got " + std::to_string(together));
  const TokenIds& before = request.context;
  if (!request.settled && context.size() > before.size() &&
      std::equal(before.begin(), before.end(), context.begin())) {
    std::vector<int32_t> path = path_along(request.source->draft().tree, context, before.size());
    if (path.size() == context.size() - before.size()) path.pop_back();
    const auto came = static_cast<int64_t>(before.size() + path.size() + 1);
    settle(id, TokenIds(context.begin(), context.begin() + came), path);
  }
  if (!request.by_load) together = 1;
  const auto length = static_cast<int64_t>(context.size());
  if (request.policy && !request.policy->begin(length, remaining, together)) remaining = 0;
  request.calls_before = request.stats.draft_calls;
  request.source->start(context, remaining);
  request.held.clear();
  request.context = context;
  request.settled = false;
  request.error = nullptr;
}

std::vector<Feed> Drafter::next() const {
  std::vector<int64_t> ids;
  for (const auto& [id, request] : requests_) ids.push_back(id);
  return next(ids);
}

std::vector<Feed> Drafter::next(const std::vector<int64_t>& ids) const {
  std::vector<Feed> feeds;
  for (int64_t id : ids) {
    if (!waits(id)) continue;
    feeds.push_back(state(id).source->feed());
    feeds.back().request = id;
  }
  return feeds;
}

// The request that a feed's rows are for; null: it is forgotten, or waits for others.
Drafter::State* Drafter::taker(const Feed& feed) const {
  State* const request = find(feed.request);
  if (!request) return nullptr;
  if (request->source->waits_for(feed)) return request;
  request->error = std::make_exception_ptr(
      Error(ErrorKind::kValue,
            "[Drafter] expected rows for the feeds of the last next(), got those of another"));
  request->source->failed();
  return nullptr;
}

void Drafter::feed(const std::vector<Feed>& feeds, const RowsView& logits,
                   const std::shared_ptr<const void>& owner, const Device& device) {
  std::vector<std::pair<State*, int64_t>> takers;  // each with its first row
  RowBackend* backend = nullptr;
  try {
    check_shape("Drafter", "drafter", feeds, logits);
    backend = &rows_on(device);
    int64_t row = 0;
    std::vector<DrawTask> tasks;  // begun for all requests together where rows are not in memory
    for (const Feed& feed : feeds) {
      if (State* const request = taker(feed)) {
        takers.emplace_back(request, row);
        if (!backend->in_memory()) request->source->plan(logits, row, tasks);
      }
      row += feed.rows;
    }
    backend->begin(tasks);
  } catch (...) {
    failed(feeds);  // the model's cache holds what was fed, and the slots it kept have moved up
    throw;
  }
  for (const auto& [request, row] : takers) {
    try {
      if (owner) request->held.push_back(owner);
      request->source->take(logits, row, *backend);
    } catch (const std::exception&) {
      request->error = std::current_exception();
      request->source->failed();
    }
  }
}

void Drafter::failed(const std::vector<Feed>& feeds) {
  for (const Feed& feed : feeds) {
    if (State* request = find(feed.request)) request->source->failed();
  }
}

void Draft::write_logits(int64_t row, int64_t width, float* out) const {
  detail::Distribution distribution = detail::unread_row(*rows[row]);
  if (rows[row]->known) detail::take_known(*rows[row]->known, distribution);
  for (int64_t i = 0; i < width; ++i) {
    out[i] = i < distribution.size ? detail::logit_at(distribution, i) : -INFINITY;
  }
}

const Draft& Drafter::draft(int64_t id) const { return state(id).source->draft(); }

bool Drafter::waits(int64_t id) const {
  const State& request = state(id);
  return !request.error && request.source->wants_model();
}

std::exception_ptr Drafter::error(int64_t id) const { return state(id).error; }
void Drafter::retry(int64_t id) { state(id).error = nullptr; }
const DraftStats& Drafter::stats(int64_t id) const { return state(id).stats; }

void Drafter::settle(int64_t id, const TokenIds& context, const std::vector<int32_t>& path,
                     const RowsView* target) {
  State& request = state(id);
  if (request.settled) return;
  request.settled = true;
  request.source->settle(context, path, target);
  if (!request.policy) return;
  request.policy->settle(static_cast<int64_t>(path.size()) + 1, request.source->draft().tree.size(),
                         request.stats.draft_calls - request.calls_before);
}

}  // namespace anydraft
