// The session as a C++ service drives it: several requests at once, no Python, no torch.
#include "anydraft/session.h"

#include <gtest/gtest.h>

#include "anydraft/error.h"

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

TEST(Session, DecodesSeveralRequestsAcrossVocabularies) {
  const std::string target_letters = "abc", draft_letters = "cab";
  for (Bridge bridge : {Bridge::kTli, Bridge::kSlem, Bridge::kLookup, Bridge::kNone}) {
    SessionOptions options;
    options.bridge = bridge;
    Session session(letters(target_letters), letters(draft_letters), options);
    Request request;
    request.max_new_tokens = 10;
    std::vector<int64_t> ids;
    for (int32_t first : {0, 1, 2}) {
      request.prompt = {first};
      ids.push_back(session.add(request));
    }
    int calls = 0;
    for (Work work = session.next(); work.model != Model::kIdle; work = session.next()) {
      const std::string& alphabet = work.model == Model::kTarget ? target_letters : draft_letters;
      const std::vector<float> rows = next_letter(work, alphabet);
      session.feed({rows.data(), DType::kFloat32, static_cast<int64_t>(rows.size()) / 3, 3, 3});
      calls += work.model == Model::kTarget;
    }
    for (int first : {0, 1, 2}) {
      const int64_t id = ids[first];
      ASSERT_EQ(session.emitted(id).size(), 10u);
      for (int i = 0; i < 10; ++i) EXPECT_EQ(session.emitted(id)[i].token, (first + 1 + i) % 3);
      EXPECT_EQ(session.finish(id), Finish::kLength);
    }
    // A drafter that is always right: 5 tokens a call, and one call serves all requests.
    if (bridge == Bridge::kTli || bridge == Bridge::kSlem) {
      EXPECT_EQ(calls, 2);
    }
  }
}

TEST(Session, RowsBelongToTheRequestsTheyWereAskedFor) {
  Session session(letters("abc"), nullptr, {});
  Request request;
  request.max_new_tokens = 1;
  request.prompt = {0};
  const int64_t first = session.add(request);
  const int64_t second = session.add(request);
  EXPECT_EQ(session.next().feeds.size(), 2u);
  session.cancel(first);
  const int64_t third = session.add(request);
  const float rows[] = {0, 30, 0, 0, 0, 30};  // b for the first, c for the second
  session.feed({rows, DType::kFloat32, 2, 3, 3});
  EXPECT_TRUE(session.emitted(first).empty());
  ASSERT_EQ(session.emitted(second).size(), 1u);
  EXPECT_EQ(session.emitted(second)[0].token, 2);
  EXPECT_TRUE(session.emitted(third).empty());
  EXPECT_THROW(session.feed({rows, DType::kFloat32, 1, 3, 3}), Error);  // not asked for
}

TEST(Session, RefusesWhatCannotBe) {
  Session session(letters("abc"), nullptr, {});
  EXPECT_THROW(session.add({}), Error);
  EXPECT_THROW(session.stats(-1), Error);
  SessionOptions tli;
  tli.bridge = Bridge::kTli;
  EXPECT_THROW(Session(letters("abc"), letters("xyz"), tli), Error);
  EXPECT_THROW(Session(letters("abc"), nullptr, tli), Error);
}

}  // namespace
}  // namespace anydraft
