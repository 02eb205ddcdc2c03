// The drafter's context: committed target tokens in, the drafter's own tokens out.
#include "bridge/context.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

#include "anydraft/error.h"
#include "vocab/description.h"

namespace anydraft::detail {
namespace {

// Byte-level BPE by rank over `words`, cut as cl100k cuts; every byte is a token. Special 0: <s>.
Vocabulary byte_level(const std::vector<std::string>& words, bool bytes = true) {
  Description d;
  d.table.bytes = {""};
  for (int byte = 0; byte < 256; ++byte) {
    if (bytes || byte != 'q') d.table.bytes.emplace_back(1, static_cast<char>(byte));
  }
  d.table.bytes.insert(d.table.bytes.end(), words.begin(), words.end());
  d.table.specials = {{"<s>", 0}};
  d.config.model = ModelKind::kBpe;
  d.config.owner = Owner::kTiktoken;
  Component split;
  split.type = "Split";
  split.texts = {{"behavior", "Isolated"},
                 {"Regex", R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
                           R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}};
  d.pre_tokenizer = {split};
  d.in_model.assign(d.table.bytes.size(), 1);
  d.in_model[0] = 0;
  d.ranks.assign(d.table.bytes.size(), kNoId);
  for (uint32_t id = 1; id < d.ranks.size(); ++id) d.ranks[id] = id;
  return Vocabulary(build_tables(d));
}

const std::vector<std::string> kWords = {"he",  "ll",   "llo",   "hello", " w",   "or", " wor",
                                         " he", " hel", " hell", "  ",    "\n  ", "12", "123"};

std::string random_text(std::mt19937& uniforms, size_t length) {
  static const char* const kParts[] = {"hello", " world", "  ",       "\n",
                                       "12345", "'ll",    "\xC3\xA9", "\xF0\x9F\x8E\x89",
                                       "\xE2",  "!",      "h",        "wor"};
  std::string text;
  while (text.size() < length) text += kParts[uniforms() % 12];
  return text;
}

TEST(DraftContext, SaysTheTextInTheDraftersOwnTokens) {
  const Vocabulary target = byte_level({}), drafter = byte_level(kWords);
  const VocabularyMap map(drafter, target);
  std::mt19937 uniforms(1);
  for (int round = 0; round < 300; ++round) {
    DraftContext context(target, drafter, map);
    const std::string text = random_text(uniforms, 60);
    const TokenIds all = target.encode(text);
    TokenIds committed;
    for (size_t at = 0; at < all.size();) {
      const size_t step = std::min<size_t>(1 + uniforms() % 9, all.size() - at);
      committed.insert(committed.end(), all.begin() + at, all.begin() + at + step);
      at += step;
      context.sync(committed);
      ASSERT_EQ(context.ids(), drafter.encode(target.decode(committed)));
    }
  }
}

// Drafts letter by letter, which is not how the drafter would write the text: where the tokens
// before them need not change, they stay, and with them the cache.
TEST(DraftContext, KeepsWhatTheDrafterDrewWhereItFits) {
  const Vocabulary target = byte_level({}), drafter = byte_level(kWords);
  const VocabularyMap map(drafter, target);
  std::mt19937 uniforms(2);
  int kept = 0;
  for (int round = 0; round < 1000; ++round) {
    DraftContext context(target, drafter, map);
    const TokenIds all = target.encode(random_text(uniforms, 30));
    const size_t at = 1 + uniforms() % (all.size() - 5);
    context.sync(TokenIds(all.begin(), all.begin() + at));
    TokenIds expected = context.ids();
    for (size_t i = 0; i < 4; ++i) context.append(all[at + i]);
    context.append(drafter.encode("~")[0]);  // refused by the target
    context.mark_fed();
    const TokenIds longer(all.begin(), all.begin() + at + 4);
    context.sync(longer);
    ASSERT_EQ(drafter.decode(context.ids()), target.decode(longer));
    const TokenIds own = drafter.encode(target.decode(longer));
    if (!std::equal(expected.begin(), expected.end(), own.begin())) continue;
    ++kept;
    expected.insert(expected.end(), all.begin() + at, all.begin() + at + 4);
    ASSERT_EQ(context.ids(), expected);
    ASSERT_EQ(context.fed(), expected.size());
  }
  EXPECT_GT(kept, 300);
}

TEST(DraftContext, SpecialsGoOverByText) {
  const Vocabulary target = byte_level({}), drafter = byte_level(kWords);
  const VocabularyMap map(drafter, target);
  DraftContext context(target, drafter, map);
  TokenIds committed = target.encode("hello ");
  committed.push_back(0);
  const TokenIds more = target.encode("hello");
  committed.insert(committed.end(), more.begin(), more.end());
  context.sync(committed);
  TokenIds expected = drafter.encode("hello ");
  expected.push_back(0);
  for (int32_t id : drafter.encode("hello")) expected.push_back(id);
  EXPECT_EQ(context.ids(), expected);
}

TEST(DraftContext, LeavesOutBytesThatTheDrafterHasNoTokenFor) {
  const Vocabulary target = byte_level({}), drafter = byte_level(kWords, false);
  const VocabularyMap map(drafter, target);
  DraftContext context(target, drafter, map);
  const std::string text = "qhello wqor 12q3q";
  TokenIds committed;
  for (int32_t id : target.encode(text)) {
    committed.push_back(id);
    context.sync(committed);
    std::string said = target.decode(committed);
    said.erase(std::remove(said.begin(), said.end(), 'q'), said.end());
    EXPECT_EQ(context.ids(), drafter.encode(said));
  }
}

// Characters, without one for q: a caller's encoder that refuses.
Vocabulary without_q() {
  Vocabulary::Table table;
  table.bytes = {""};
  for (int byte = 0; byte < 256; ++byte) table.bytes.emplace_back(1, static_cast<char>(byte));
  table.specials = {{"<s>", 0}};
  return Vocabulary(table, [](std::string_view text) {
    TokenIds ids;
    for (unsigned char byte : text) {
      if (byte == 'q') throw Error(ErrorKind::kVocabulary, "no token for q");
      ids.push_back(byte + 1);
    }
    return ids;
  });
}

TEST(DraftContext, IsAsBeforeAfterATextThatCannotBeSpelled) {
  const Vocabulary target = byte_level({}), drafter = without_q();
  const VocabularyMap map(drafter, target);
  DraftContext context(target, drafter, map);
  const TokenIds good = target.encode("hello wor");
  context.sync(good);
  const TokenIds ids = context.ids();
  TokenIds bad = good;
  for (int32_t id : {target.encode("h")[0], int32_t{0}, target.encode("q")[0]}) bad.push_back(id);
  EXPECT_THROW(context.sync(bad), Error);
  EXPECT_EQ(context.ids(), ids);
  const TokenIds longer = target.encode("hello world");
  context.sync(longer);
  EXPECT_EQ(drafter.decode(context.ids()), "hello world");
}

}  // namespace
}  // namespace anydraft::detail
