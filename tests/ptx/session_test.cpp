// Sessions whose rows lie on the device, from prompt to text, beside the same sessions in memory:
// every bridge, scheme and verifier that the device carries, what it refuses, and what a round
// costs: waits of the host, bytes to it, allocations.
#include <cstdio>
#include <functional>
#include <optional>

#include "anydraft/error.h"
#include "runtime.h"
#include "session_models.h"

namespace anydraft::testing {
namespace {

int failures = 0;
void expect(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
  ++failures;
}

const std::vector<std::string> kTargetWords{"a", "b", "c", "ab", "bc", "abc", "."};
const std::vector<std::string> kDraftWords{"c", "ba", "a", "b", "cc", "abca", "."};

// What one session is told to do.
struct Case {
  std::string name;
  EngineOptions options;
  SamplingParams sampling;
  std::optional<SamplingParams> draft_sampling;
  DType dtype = DType::kFloat32;
  int fillers = 0;
  int32_t tokens = 10;
};

struct Costs {
  size_t most_waits = 0, most_bytes = 0, late_allocations = 0;  // beyond a round's steps; a request
  int rounds = 0, drafted = 0, accepted = 0;
};

struct Played {
  std::vector<std::vector<int32_t>> texts;  // tokens, each with its origin
  Costs costs;
};

// Three requests of which one ends early; the fed rows are in memory or on the device.
Played play(const Case& one, bool on_device) {
  const bool across = info_of(one.options.bridge).across;
  const auto target_words = words(kTargetWords, one.fillers);
  const auto draft_words = across ? words(kDraftWords, one.fillers) : target_words;
  const auto size = static_cast<int64_t>(target_words->size());
  const auto draft_size = static_cast<int64_t>(draft_words->size());
  ToyModel target(1, 7, size + 3, size, one.dtype);
  ToyModel drafter(across ? 2 : 1, 7, draft_size + 1, draft_size, one.dtype);
  DeviceRows target_rows(1 << 20), draft_rows(4 << 20);
  Engine engine(target_words, draft_words, one.options);
  std::vector<int64_t> ids;
  for (int32_t i = 0; i < 3; ++i) {
    Request request;
    request.prompt = {i, 2, 0};
    request.sampling = one.sampling;
    request.sampling.seed = 11;
    request.random_stream = static_cast<uint32_t>(i);
    request.draft_sampling = one.draft_sampling;
    request.max_tokens = i == 1 ? one.tokens / 2 : one.tokens;
    ids.push_back(engine.add(request));
  }
  Played played;
  size_t waits = 0, bytes = 0, allocations = 0, steps = 0;
  for (Work work = engine.next(); work.model != ModelRole::kIdle; work = engine.next()) {
    const bool drafts = work.model == ModelRole::kDrafter;
    ToyModel& model = drafts ? drafter : target;
    const auto rows = std::make_shared<const std::vector<char>>(model(work.feeds));
    const size_t live = work.feeds.size();
    if (!on_device) {
      engine.feed(work, model.view(rows->data(), *rows), rows);
      continue;
    }
    const void* at = (drafts ? draft_rows : target_rows).put(*rows);
    const size_t before[] = {ptx::waits_of_host(), ptx::bytes_to_host(), ptx::allocations()};
    engine.feed(work, model.view(at, *rows), nullptr, {true, nullptr});
    waits += ptx::waits_of_host() - before[0];
    bytes += ptx::bytes_to_host() - before[1];
    allocations += ptx::allocations() - before[2];
    steps += drafts;
    if (drafts) continue;
    Costs& costs = played.costs;
    if (costs.rounds++ > 0) {
      costs.late_allocations += allocations;
      costs.most_waits = std::max(costs.most_waits, waits - std::min(waits, steps + 1));
    }
    costs.most_bytes = std::max(costs.most_bytes, bytes / live);
    waits = bytes = allocations = steps = 0;
  }
  for (int64_t id : ids) {
    engine.check(id);
    played.texts.emplace_back();
    for (const Emitted& emitted : engine.emitted(id)) {
      played.texts.back().push_back(emitted.token);
      played.texts.back().push_back(static_cast<int32_t>(emitted.origin));
    }
    played.costs.drafted += static_cast<int>(engine.stats(id).drafted);
    played.costs.accepted += static_cast<int>(engine.stats(id).accepted);
  }
  return played;
}

SamplingParams params(double temperature, int32_t top_k = 0, double top_p = 1) {
  SamplingParams params;
  params.temperature = temperature;
  params.top_k = top_k;
  params.top_p = top_p;
  return params;
}

TreeShape tree(const std::string& name) {
  if (name == "2x2x2") return {{2, 2, 2}, 0, 0, 0};
  if (name == "4,1,1") return {{4, 1, 1}, 0, 0, 0};
  if (name == "dynamic") return {{3}, 8, 3, 2};
  return {};
}

bool carried(const Case& one) {
  const EngineOptions& options = one.options;
  const bool chain = options.tree.widths.empty();
  return options.bridge != Bridge::kSlrs || chain;
}

// All options that fit together, with one of several samplings in turn.
std::vector<Case> cases() {
  const std::vector<SamplingParams> samplings{params(1), params(0.7, 5, 0.9), params(1.3),
                                              params(0)};
  const std::vector<std::optional<SamplingParams>> of_drafter{
      {}, params(1.5, 2), {}, params(0), {}};
  std::vector<Case> all;
  for (const VerifierInfo& verifier : verifiers()) {
    for (Bridge bridge : {Bridge::kNone, Bridge::kLookup, Bridge::kSame, Bridge::kTli,
                          Bridge::kSlem, Bridge::kSlrs}) {
      for (int32_t scheme = 0; scheme < static_cast<int32_t>(ProposalKind::kSparse); ++scheme) {
        for (const char* shape : {"chain", "2x2x2", "4,1,1", "dynamic"}) {
          Case one;
          EngineOptions& options = one.options;
          options.bridge = bridge;
          options.scheme = static_cast<ProposalKind>(scheme);
          options.verifier = verifier.verifier;
          options.tree = tree(shape);
          const size_t turn = all.size();
          options.draft_confidence = turn % 3 == 0 ? 0.1 : 0;
          one.sampling = samplings[turn % samplings.size()];
          one.draft_sampling = of_drafter[turn % of_drafter.size()];
          one.dtype = turn % 2 ? DType::kBFloat16 : DType::kFloat32;
          one.name = std::string(info_of(bridge).name) + ", " + name_of(options.scheme) + ", " +
                     verifier.name + ", " + shape + " #" + std::to_string(turn);
          try {
            options.validate();
          } catch (const Error&) {
            continue;
          }
          if (!carried(one)) continue;
          // Now and then rows of two chunks.
          if (turn % 23 == 7) one.fillers = 4500, one.tokens = 6, one.name += " wide";
          all.push_back(one);
        }
      }
    }
  }
  return all;
}

std::string written(const Played& played) {
  std::string all;
  for (const auto& text : played.texts) {
    for (int32_t number : text) all += std::to_string(number) + " ";
    all += "/ ";
  }
  return all;
}

void check(const Case& one, Costs& total) {
  std::optional<Played> wanted, got;
  try {
    wanted = play(one, false);
    got = play(one, true);
  } catch (const std::exception& error) {
    return expect(false, one.name + ": " + error.what());
  }
  expect(got->texts == wanted->texts,
         one.name + ": the tokens in memory, " + written(*wanted) + ", got " + written(*got));
  expect(got->costs.most_waits == 0, one.name + ": waits of a round <= steps + 1, got " +
                                         std::to_string(got->costs.most_waits) + " more");
  expect(got->costs.most_bytes <= 1024, one.name + ": bytes of a request and round <= 1024, got " +
                                            std::to_string(got->costs.most_bytes));
  expect(got->costs.late_allocations == 0, one.name +
                                               ": no allocation after the first round, got " +
                                               std::to_string(got->costs.late_allocations));
  total.most_bytes = std::max(total.most_bytes, got->costs.most_bytes);
  total.rounds += got->costs.rounds;
  total.drafted += got->costs.drafted;
  total.accepted += got->costs.accepted;
}

// What a session on the device says to what it does not carry.
std::string refusal(const std::function<void(Case&, Request&)>& change) {
  Case one;
  one.options.bridge = Bridge::kSlrs;
  Request request;
  request.prompt = {0};
  change(one, request);
  const auto target_words = words(kTargetWords, 0), draft_words = words(kDraftWords, 0);
  const auto size = static_cast<int64_t>(target_words->size());
  ToyModel target(1, 7, size, size, one.dtype), drafter(2, 7, size, size, one.dtype);
  DeviceRows memory(1 << 20);
  Engine engine(target_words, draft_words, one.options);
  const int64_t id = engine.add(request);
  try {
    for (Work work = engine.next(); work.model != ModelRole::kIdle; work = engine.next()) {
      ToyModel& model = work.model == ModelRole::kDrafter ? drafter : target;
      const std::vector<char> rows = model(work.feeds);
      engine.feed(work, model.view(memory.put(rows), rows), nullptr, {true, nullptr});
    }
    engine.check(id);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void check_refusals() {
  const auto names = [](const std::string& said, const std::string& what) {
    expect(said.find(what) != std::string::npos && said.find("CUDA") != std::string::npos,
           "a refusal that names " + what + ", got: " + said);
  };
  names(refusal([](Case& one, Request&) { one.options.bridge = Bridge::kAuto; }), "auto");
  names(refusal([](Case& one, Request&) { one.options.tree = tree("2x2x2"); }), "tree");
  names(refusal([](Case& one, Request&) { one.options.stop_rule.tokens = 2; }), "stop rule");
  names(refusal([](Case&, Request& request) { request.logprobs = 2; }), "logprobs");
  names(refusal([](Case&, Request& request) { request.changes.frequency_penalty = 1; }),
        "penalties");
}

}  // namespace
}  // namespace anydraft::testing

int main(int argc, char** argv) {
  using namespace anydraft::testing;
  // "quick": every ninth; else those whose names have it in them.
  const std::string given = argc > 1 ? argv[1] : "";
  const size_t each = given == "quick" ? 9 : 1;
  const std::string only = each > 1 ? "" : given;
  Costs total;
  int count = 0;
  const std::vector<Case> all = cases();
  for (size_t i = 0; i < all.size(); i += each) {
    if (all[i].name.find(only) == std::string::npos) continue;
    check(all[i], total);
    ++count;
  }
  check_refusals();
  std::printf(
      "%d sessions, %d rounds: %d tokens drafted, %d kept; at most %zu bytes a request and "
      "round; %d failures\n",
      count, total.rounds, total.drafted, total.accepted, total.most_bytes, failures);
  return failures > 0;
}
