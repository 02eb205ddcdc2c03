// The engine as a C++ service drives it: several requests at once, no Python, no torch.
#include "anydraft/engine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>

#include "anydraft/error.h"
#include "draft/drafts_to_verify.h"

namespace anydraft {
namespace {

std::shared_ptr<const Vocabulary> letters(const std::string& alphabet) {
  Vocabulary::Table table;
  for (char letter : alphabet) table.bytes.push_back(std::string(1, letter));
  return std::make_shared<Vocabulary>(table, [alphabet](std::string_view text) {
    TokenIds ids;
    for (char letter : text) ids.push_back(static_cast<int32_t>(alphabet.find(letter)));
    return ids;
  });
}

// After a letter comes the next one, in either model's own ids.
std::vector<float> next_letter(const Work& work, const std::string& alphabet) {
  std::vector<float> rows;
  for (const Feed& feed : work.feeds) {
    for (size_t i = feed.tokens.size() - feed.rows; i < feed.tokens.size(); ++i) {
      const char letter = static_cast<char>('a' + (alphabet[feed.tokens[i]] - 'a' + 1) % 3);
      for (char other : alphabet) rows.push_back(other == letter ? 30.0f : 0.0f);
    }
  }
  return rows;
}

// Rows of three columns that the engine keeps for as long as it reads them.
void feed(Engine& engine, const Work& work, std::vector<float> logits) {
  const auto rows = std::make_shared<const std::vector<float>>(std::move(logits));
  const auto count = static_cast<int64_t>(rows->size()) / 3;
  engine.feed(work, {rows->data(), DType::kFloat32, count, 3, 3}, rows);
}

TEST(Engine, DecodesSeveralRequestsAcrossVocabularies) {
  const std::string target_letters = "abc", draft_letters = "cab";
  for (Bridge bridge : {Bridge::kTli, Bridge::kSlem, Bridge::kLookup, Bridge::kNone}) {
    EngineOptions options;
    options.bridge = bridge;
    Engine engine(letters(target_letters), letters(draft_letters), options);
    Request request;
    request.max_tokens = 10;
    std::vector<int64_t> ids;
    for (int32_t first : {0, 1, 2}) {
      request.prompt = {first};
      ids.push_back(engine.add(request));
    }
    int calls = 0;
    for (Work work = engine.next(); work.model != ModelRole::kIdle; work = engine.next()) {
      const std::string& alphabet =
          work.model == ModelRole::kTarget ? target_letters : draft_letters;
      feed(engine, work, next_letter(work, alphabet));
      calls += work.model == ModelRole::kTarget;
    }
    for (int first : {0, 1, 2}) {
      const int64_t id = ids[first];
      ASSERT_EQ(engine.emitted(id).size(), 10u);
      for (int i = 0; i < 10; ++i) EXPECT_EQ(engine.emitted(id)[i].token, (first + 1 + i) % 3);
      EXPECT_EQ(engine.finish(id), Finish::kLength);
    }
    // A drafter that is always right: 5 tokens a call, and one call serves all requests.
    if (bridge == Bridge::kTli || bridge == Bridge::kSlem) {
      EXPECT_EQ(calls, 2);
    }
  }
}

TEST(Engine, RowsBelongToTheRequestsTheyWereAskedFor) {
  Engine engine(letters("abc"), nullptr, {});
  Request request;
  request.max_tokens = 1;
  request.prompt = {0};
  const int64_t first = engine.add(request);
  const int64_t second = engine.add(request);
  const Work work = engine.next();
  EXPECT_EQ(work.feeds.size(), 2u);
  engine.cancel(first);
  const int64_t third = engine.add(request);
  const float rows[] = {0, 30, 0, 0, 0, 30};  // b for the first, c for the second
  engine.feed(work, {rows, DType::kFloat32, 2, 3, 3});
  EXPECT_TRUE(engine.emitted(first).empty());
  ASSERT_EQ(engine.emitted(second).size(), 1u);
  EXPECT_EQ(engine.emitted(second)[0].token, 2);
  EXPECT_TRUE(engine.emitted(third).empty());
  EXPECT_THROW(engine.feed({}, {rows, DType::kFloat32, 1, 3, 3}), Error);  // not asked for
}

// A host that asks again before it has fed what it was asked for, and then feeds both.
TEST(Engine, RowsThatARequestNoLongerWaitsForAreRefused) {
  EngineOptions options;
  options.bridge = Bridge::kTli;
  Engine engine(letters("abc"), letters("cab"), options),
      twin(letters("abc"), letters("cab"), options);
  Request request;
  request.max_tokens = 12;
  request.prompt = {0};
  request.sampling.seed = 1;
  const int64_t id = engine.add(request), other = twin.add(request);
  EXPECT_THROW(engine.next({id, id}), Error);
  Work stale = engine.next();
  for (Work work = stale; work.model != ModelRole::kIdle; work = engine.next()) {
    const auto rows = [](const Work& asked) {
      return next_letter(asked, asked.model == ModelRole::kTarget ? "abc" : "cab");
    };
    feed(engine, work, rows(work));
    try {
      feed(engine, work, rows(work));
      if (engine.finish(id) == Finish::kLength) break;  // rows that come behind the end say nothing
      EXPECT_THROW(engine.check(id), Error);            // of the drafter's rows: the request's own
      engine.resume(id);
    } catch (const Error&) {
      EXPECT_EQ(work.model, ModelRole::kTarget);
    }
  }
  for (Work work = twin.next(); work.model != ModelRole::kIdle; work = twin.next()) {
    feed(twin, work, next_letter(work, work.model == ModelRole::kTarget ? "abc" : "cab"));
  }
  ASSERT_EQ(engine.emitted(id).size(), 12u);
  for (size_t i = 0; i < 12; ++i) {
    EXPECT_EQ(engine.emitted(id)[i].token, twin.emitted(other)[i].token);
  }
}

// Three requests to their ends, the rows of each call handed to `spoil` with the call's number.
// Requests that end with an error are asked for it and resumed once nothing else is to be done.
struct Served {
  std::vector<TokenIds> texts;
  std::vector<int> errors;        // [requests]
  std::vector<size_t> when_idle;  // [requests] tokens when the first error was all that was left
};
template <class Spoil>
Served serve(Engine& engine, Spoil spoil) {
  Served served;
  std::vector<int64_t> ids;
  for (int32_t first : {0, 1, 2}) {
    Request request;
    request.prompt = {first};
    request.sampling.seed = 5;
    request.max_tokens = 12;
    ids.push_back(engine.add(request));
  }
  served.errors.assign(ids.size(), 0);
  int calls[2] = {};
  for (bool again = true; again;) {
    for (Work work = engine.next(); work.model != ModelRole::kIdle; work = engine.next()) {
      const bool target = work.model == ModelRole::kTarget;
      std::vector<float> rows = next_letter(work, target ? "abc" : "cab");
      spoil(work, calls[target]++, rows);
      feed(engine, work, std::move(rows));
    }
    if (served.when_idle.empty()) {
      for (int64_t id : ids) served.when_idle.push_back(engine.emitted(id).size());
    }
    again = false;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (engine.finish(ids[i]) != Finish::kError) continue;
      EXPECT_ANY_THROW(engine.check(ids[i]));
      engine.resume(ids[i]);
      ++served.errors[i];
      again = true;
    }
  }
  for (int64_t id : ids) {
    EXPECT_NO_THROW(engine.check(id));
    EXPECT_EQ(engine.finish(id), Finish::kLength);
    served.texts.emplace_back();
    for (const Emitted& emitted : engine.emitted(id)) served.texts.back().push_back(emitted.token);
  }
  return served;
}

std::vector<EngineOptions> several_options() {
  std::vector<EngineOptions> all;
  for (Bridge bridge : {Bridge::kNone, Bridge::kLookup, Bridge::kTli, Bridge::kSlem, Bridge::kSlrs,
                        Bridge::kAuto}) {
    EngineOptions options;
    options.bridge = bridge;
    all.push_back(options);
    options.tree.widths = {2, 2};
    all.push_back(options);
  }
  return all;
}

TEST(Engine, ABadRowEndsItsOwnRequestAlone) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const EngineOptions& options : several_options()) {
    Engine good(letters("abc"), letters("cab"), options);
    const Served expected = serve(good, [](const Work&, int, std::vector<float>&) {});
    for (float bad : {std::nanf(""), infinity, -infinity}) {
      for (ModelRole model : {ModelRole::kTarget, ModelRole::kDrafter}) {
        if (model == ModelRole::kDrafter && bad < 0) continue;  // it has nothing to say: no error
        for (size_t place = 0; place < 3; ++place) {
          Engine engine(letters("abc"), letters("cab"), options);
          bool spoilt = false;
          const Served served = serve(engine, [&](const Work& work, int call, auto& rows) {
            if (work.model != model || call != 1 || place >= work.feeds.size()) return;
            size_t row = 0;
            for (size_t i = 0; i < place; ++i) row += work.feeds[i].rows;
            for (int64_t i = 0; i < 3 * work.feeds[place].rows; ++i) rows[3 * row + i] = bad;
            spoilt = true;
          });
          EXPECT_EQ(served.texts, expected.texts);
          if (!spoilt) continue;
          int errors = 0;
          for (size_t i = 0; i < 3; ++i) {
            errors += served.errors[i];
            EXPECT_EQ(served.when_idle[i] == 12, served.errors[i] == 0);
          }
          EXPECT_EQ(errors, 1);
        }
      }
    }
  }
}

TEST(Engine, AnEncoderThatThrowsEndsOneRequestAlone) {
  int calls = 0, throw_at = 0;
  const std::string alphabet = "cab";
  Vocabulary::Table table;
  for (char letter : alphabet) table.bytes.push_back(std::string(1, letter));
  const auto drafter = std::make_shared<Vocabulary>(table, [&](std::string_view text) {
    if (++calls == throw_at) throw std::runtime_error("no such text");
    TokenIds ids;
    for (char letter : text) ids.push_back(static_cast<int32_t>(alphabet.find(letter)));
    return ids;
  });
  EngineOptions options;
  options.bridge = Bridge::kTli;
  const auto nothing = [](const Work&, int, std::vector<float>&) {};
  Engine good(letters("abc"), drafter, options);
  calls = 0;
  const Served expected = serve(good, nothing);
  const int last = calls;
  EXPECT_GT(last, 3);
  for (throw_at = 1; throw_at <= last; ++throw_at) {
    Engine engine(letters("abc"), drafter, options);
    calls = 0;
    const Served served = serve(engine, nothing);
    EXPECT_EQ(served.texts, expected.texts);
    EXPECT_EQ(served.errors[0] + served.errors[1] + served.errors[2], 1);
  }
}

TEST(Engine, AnErrorSaysWhatItWasUntilItIsGivenUp) {
  Engine engine(letters("abc"), nullptr, {});
  Request request;
  request.prompt = {0};
  const int64_t first = engine.add(request), second = engine.add(request);
  const Work work = engine.next();
  float rows[] = {0, 30, 0, 0, std::nanf(""), 0};
  engine.feed(work, {rows, DType::kFloat32, 2, 3, 3});
  EXPECT_EQ(engine.emitted(first).size(), 1u);
  ASSERT_EQ(engine.finish(second), Finish::kError);
  try {
    engine.check(second);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNonFiniteLogits);
    EXPECT_NE(std::string(error.what()).find("row 1"), std::string::npos) << error.what();
  }
  EXPECT_EQ(engine.next().feeds.size(), 1u);  // of the first alone
  engine.cancel(second);
  EXPECT_EQ(engine.finish(second), Finish::kCancelled);
  engine.resume(second);  // too late
  EXPECT_EQ(engine.finish(second), Finish::kCancelled);
}

// Whatever else reads their rows reads them at a temperature that resolves them.
TEST(Engine, GreedyRequestsTakeLogitsOfAnySize) {
  std::vector<EngineOptions> all = several_options();
  all.emplace_back().bridge = Bridge::kAuto;
  all.back().auto_length = true;
  all.emplace_back().bridge = Bridge::kSlrs;
  all.back().stop_rule.tokens = 2;
  for (Bridge bridge : {Bridge::kTli, Bridge::kSlrs}) {
    all.emplace_back().bridge = bridge;
    all.back().tree = {{2}, 6, 3, 2};
  }
  for (const EngineOptions& options : all) {
    for (float shift : {0.0f, 1e7f, -1e7f}) {
      Engine engine(letters("abc"), letters("cab"), options);
      Request request;
      request.prompt = {0};
      request.sampling.temperature = 0;
      request.max_tokens = 12;
      request.logprobs = shift < 0 ? 2 : -1;
      const int64_t id = engine.add(request);
      for (Work work = engine.next(); work.model != ModelRole::kIdle; work = engine.next()) {
        std::vector<float> rows =
            next_letter(work, work.model == ModelRole::kTarget ? "abc" : "cab");
        for (float& x : rows) x += shift;
        feed(engine, work, std::move(rows));
      }
      EXPECT_NO_THROW(engine.check(id)) << info_of(options.bridge).name << ' ' << shift;
      EXPECT_EQ(engine.emitted(id).size(), 12u);
      for (size_t i = 0; i < engine.emitted(id).size(); ++i) {
        EXPECT_EQ(engine.emitted(id)[i].token, static_cast<int32_t>(1 + i) % 3);
      }
      EXPECT_EQ(engine.logprobs(id).size(), shift < 0 ? 12u : 0u);
      for (const TokenLogprobs& told : engine.logprobs(id)) EXPECT_GT(told.logprob, -0.2);
    }
  }
}

// The second of two tokens comes from a row that only a greedy request takes.
TEST(Engine, ARoundIsCommittedInFull) {
  EngineOptions options;
  options.bridge = Bridge::kText;
  options.expect = [](const TokenIds&) { return TokenIds{1}; };
  Engine engine(letters("abc"), nullptr, options);
  Request request;
  request.prompt = {0};
  request.logprobs = 1;
  request.sampling.temperature = 0;
  const int64_t id = engine.add(request);
  const Work work = engine.next();
  EXPECT_EQ(work.feeds[0].rows, 2);
  feed(engine, work, {0, 30, 0, 1e7, 1e7, 1e7});
  EXPECT_NO_THROW(engine.check(id));
  ASSERT_EQ(engine.emitted(id).size(), 2u);
  ASSERT_EQ(engine.logprobs(id).size(), 2u);
  EXPECT_NEAR(engine.logprobs(id)[1].logprob, -std::log(3), 1e-6);
}

TEST(Engine, AVocabularyNeedNotReachTheRootsToken) {
  Draft draft;
  draft.tree.tokens[0] = std::numeric_limits<int32_t>::max() - 1;
  DraftsToVerify drafts;
  drafts.add(draft, 0);
  const float row[3] = {};
  EXPECT_EQ(drafts.request({row, DType::kFloat32, 1, 3, 3}).vocabulary(), 3);
  draft.tree = DraftTree({{1}});
  draft.tree.add(0, 7);
  drafts.clear();
  drafts.add(draft, 1);
  EXPECT_EQ(drafts.vocab, 8);
}

TEST(Engine, RefusesWhatCannotBe) {
  Engine engine(letters("abc"), nullptr, {});
  EXPECT_THROW(engine.add({}), Error);
  EXPECT_THROW(engine.stats(-1), Error);
  EngineOptions tli;
  tli.bridge = Bridge::kTli;
  EXPECT_THROW(Engine(letters("abc"), letters("xyz"), tli), Error);
  EXPECT_THROW(Engine(letters("abc"), nullptr, tli), Error);
  for (const double penalty : {1e300, 1e-60, std::nan("")}) {  // float32 holds none of them
    Request request;
    request.prompt = {0};
    request.changes.repetition_penalty = penalty;
    EXPECT_THROW(engine.add(request), Error) << penalty;
  }
  for (const double cost : {HUGE_VAL, -1.0}) {
    EngineOptions costs;
    costs.draft_cost = cost;
    EXPECT_THROW(Engine(letters("abc"), nullptr, costs), Error) << cost;
    costs.draft_cost = 0.15;
    costs.row_costs = {0, 1, cost};
    EXPECT_THROW(Engine(letters("abc"), nullptr, costs), Error) << cost;
  }
  EngineOptions lookup;
  lookup.bridge = Bridge::kLookup;
  const auto told = [&](Verifier verifier) -> std::string {
    lookup.verifier = verifier;
    try {
      lookup.validate();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(told(Verifier::kBlock),
            "[Drafter] expected drafts that are drawn with verifier block, got those of bridge "
            "lookup, which are certain");
  EXPECT_EQ(told(Verifier::kKseq),
            "[Drafter] expected a verifier that takes proposals of kind one_hot, got kseq");
  EXPECT_EQ(told(Verifier::kMatch), "");
}

}  // namespace
}  // namespace anydraft
