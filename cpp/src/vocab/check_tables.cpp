#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "anydraft/error.h"
#include "vocab/double_array.h"
#include "vocab/hash.h"
#include "vocab/joins.h"
#include "vocab/scan.h"
#include "vocab/split.h"
#include "vocab/tables.h"
#include "vocab/utf8.h"

namespace anydraft::detail {
namespace {

void expect(bool holds, const char* what) {
  if (holds) return;
  throw Error(ErrorKind::kVocabulary,
              std::string("[Vocabulary] expected tables that agree with themselves, got ") + what);
}

template <typename T, typename F>
void expect_all(const Array<T>& array, const char* what, F&& holds) {
  bool all = true;
  for (const T& entry : array) all &= holds(entry);
  expect(all, what);
}

bool power_of_two(size_t size) { return size > 0 && (size & (size - 1)) == 0; }

void check_meaning(const Tables& t, size_t size) {
  expect(t.offsets.size > 0 && size < 1u << kIdBits && t.flags.size == size, "other sizes");
  bool ascending = t.offsets[0] == 0 && t.offsets[size] == t.bytes.size;
  for (size_t id = 0; id < size; ++id) ascending &= t.offsets[id] <= t.offsets[id + 1];
  expect(ascending, "offsets outside the bytes");
  const auto in_strings = [&](uint64_t at, uint64_t length) {
    return at + length <= t.strings.size;
  };
  const auto is_text = [&](uint32_t at, uint32_t length) {
    return valid_until(text_of(t, at, length), 0) == length;
  };
  std::vector<uint8_t> named(size, 0);
  for (const AddedToken& s : t.specials) {
    expect(s.id < size && in_strings(s.text, s.text_size), "a special outside the vocabulary");
    named[s.id] = 1;
  }
  for (size_t id = 0; id < size; ++id) {
    expect(((t.flags[id] & kSpecial) != 0) == (named[id] != 0), "a special without a text");
  }
  expect_all(t.roles, "a role outside the vocabulary", [&](const Role& role) {
    return role.id < size && in_strings(role.name, role.name_size);
  });
  expect_all(t.prefix, "a prefix outside the vocabulary", [&](uint32_t id) { return id < size; });
  expect_all(t.added, "an added token outside the vocabulary", [&](const AddedToken& token) {
    return token.id < size && in_strings(token.text, token.text_size);
  });
  expect_all(t.normalizer, "a step that is not known", [&](const Step& step) {
    return step.kind <= static_cast<uint32_t>(StepKind::kReplacePattern) &&
           (step.kind != static_cast<uint32_t>(StepKind::kReplacePattern) ||
            step.flags < t.split_rules.size) &&
           in_strings(step.text, step.text_size) && in_strings(step.other, step.other_size) &&
           is_text(step.text, step.text_size) && is_text(step.other, step.other_size) &&
           (step.kind != static_cast<uint32_t>(StepKind::kReplace) || step.text_size > 0);
  });
  expect_all(t.scanners, "a scanner that is not known", [&](uint32_t kind) {
    if (kind & kSplitRule) return (kind & ~kSplitRule) < t.split_rules.size;
    return kind > 0 && kind < static_cast<uint32_t>(ScanKind::kCount);
  });
}

// Every way through the steps stays inside them, and comes to an end: nothing but a run or a set
// lies on a way back, which moves on in the text. A broken pattern may loop without moving, which
// the matcher's count of steps ends.
void check_patterns(const Tables& t) {
  const size_t steps = t.pattern_steps.size;
  expect_all(t.split_rules, "a split rule that is not known", [&](const SplitRule& rule) {
    return rule.start < steps && rule.behavior < static_cast<uint32_t>(SplitBehavior::kCount);
  });
  for (size_t i = 0; i < steps; ++i) {
    const PatternStep& step = t.pattern_steps[i];
    expect(step.op < static_cast<uint32_t>(PatternOp::kCount), "a pattern that is not known");
    const auto op = static_cast<PatternOp>(step.op);
    const bool jumps = op == PatternOp::kSplit || op == PatternOp::kAhead;
    const bool sets = op == PatternOp::kSet || op == PatternOp::kRun || op == PatternOp::kRunBack;
    bool fits = op == PatternOp::kMatch || op == PatternOp::kJump || i + 1 < steps;
    if (sets) fits &= step.set < t.pattern_sets.size;
    if (jumps || op == PatternOp::kJump) fits &= step.x < steps;
    if (jumps) fits &= step.y < steps;
    // A look-ahead runs on a stack of its own: it lies behind its step.
    if (op == PatternOp::kAhead) fits &= step.x > i && step.y > i;
    expect(fits, "a pattern that leads outside");
  }
  expect_all(t.pattern_sets, "a set that leads outside", [&](const CharacterSet& set) {
    return set.ranges + 2 * uint64_t{set.range_count} <= t.pattern_ranges.size;
  });
}

// Children lie behind their parent; the root has all 256.
void check_trie(const Trie& trie, size_t values) {
  const size_t nodes = trie.labels.size;
  if (nodes == 0) return expect(trie.firsts.empty() && trie.values.empty(), "no trie");
  bool fits = trie.values.size == nodes && trie.firsts.size == nodes + 1;
  expect(fits && nodes >= 257 && trie.firsts[0] == 1 && trie.firsts[1] == 257, "a broken trie");
  for (size_t node = 0; node < nodes; ++node) {
    fits &= trie.firsts[node] > node && trie.firsts[node] <= trie.firsts[node + 1];
    fits &= trie.values[node] == kNoId || trie.values[node] < values;
  }
  expect(fits && trie.firsts[nodes] == nodes, "a broken trie");
}

// Every base leads to units that are there.
void check_words(const Array<uint64_t>& words, size_t size, bool required) {
  expect(words.empty() ? !required : words.size % 256 == 0, "words cut off");
  expect_all(words, "words that lead outside",
             [&](uint64_t unit) { return base_of(unit) < words.size && word_of(unit) <= size; });
}

template <typename Score>
void check_scores(const Array<Score>& scores, size_t size, const EncoderConfig& config) {
  expect(scores.size == size + 1 && scores[0] == -std::numeric_limits<Score>::infinity(),
         "scores that are missing");
  bool finite = std::isfinite(config.unk_score);
  for (size_t id = 1; id <= size; ++id) finite &= std::isfinite(scores[id]);
  expect(finite, "scores that are no numbers");
}

void check_bpe(const Tables& t, const EncoderConfig& config, size_t size) {
  expect(power_of_two(t.pieces.size) && power_of_two(t.pairs.size), "hash tables of other sizes");
  size_t free_pieces = 0, free_pairs = 0;
  bool fits = true;
  for (const PieceSlot& slot : t.pieces) {
    free_pieces += slot.id == kNoId;
    fits &= slot.id == kNoId ||
            (slot.id < size && t.offsets[slot.id + 1] - t.offsets[slot.id] == slot.length);
  }
  for (uint64_t slot : t.pairs) {
    free_pairs += slot == kNoPair;
    fits &= slot == kNoPair || (slot & ((1u << kRankBits) - 1)) < t.merged.size;
  }
  expect(fits && free_pieces > 0 && free_pairs > 0, "hash tables that lead outside");
  expect_all(t.merged, "a merge outside the vocabulary", [&](uint32_t id) { return id < size; });
  expect(t.joins.empty() || (t.joins.size == kJoinBytes && !config.byte_level), "a broken bit set");
  expect(t.byte_pairs.size == (config.byte_level ? 1u << 16 : 0),
         "pairs of bytes that are missing");
  expect_all(t.byte_pairs, "a rank that no merge has",
             [&](uint32_t rank) { return rank == kNoRank || rank < t.merged.size; });
  expect(config.tie_bits < kRankBits, "ranks that all tie");
}

void check_charsmap(const Array<uint8_t>& charsmap) {
  if (charsmap.empty()) return;
  uint32_t size = 0;
  if (charsmap.size >= 4) std::memcpy(&size, charsmap.data, 4);
  expect(charsmap.size >= 4 && size <= charsmap.size - 4, "a charsmap that is cut off");
}

}  // namespace

void check_tables(const Tables& t) {
  expect(t.offsets.size > 0, "no offsets");
  const size_t size = t.offsets.size - 1;
  check_meaning(t, size);
  check_patterns(t);
  check_charsmap(t.charsmap);
  check_trie(t.added_trie, t.added.size);
  check_trie(t.added_normalized_trie, t.added.size);
  if (t.config.empty()) return;
  const EncoderConfig& config = t.config[0];
  expect(t.config.size == 1 && config.model <= ModelKind::kWordPiece &&
             config.owner <= Owner::kSentencePiece && config.decode <= DecodeStyle::kWordEnds &&
             config.prefix_space <= PrefixSpace::kFirst,
         "a kind that is not known");
  expect(config.unk_id == kNoId || config.unk_id < size, "an unknown token outside the vocabulary");
  expect(t.ascii_forms.size == 128, "forms that are missing");
  expect_all(t.ascii_forms, "forms that are no ASCII",
             [](char form) { return static_cast<uint8_t>(form) < 128; });
  expect(t.byte_ids.size == 256, "bytes without tokens");
  expect_all(t.byte_ids, "a byte outside the vocabulary",
             [&](uint32_t id) { return id < size || id == kNoId; });
  const bool words = config.model == ModelKind::kUnigram || config.model == ModelKind::kWordPiece ||
                     config.affixes != 0;
  expect(!config.exact || std::count(t.byte_ids.begin(), t.byte_ids.end(), kNoId) == 0,
         "exact spelling without a token for each byte");
  expect((config.sign_level == kNoId || config.sign_level <= t.scanners.size) &&
             (config.stand_in_level == kNoId || config.stand_in_level <= t.scanners.size),
         "levels beyond the scanners");
  for (size_t level = config.stand_in_level; level < t.scanners.size; ++level) {
    expect((t.scanners[level] & kSplitRule) != 0, "stand-ins cut by other than patterns");
  }
  check_words(t.words, size, words);
  expect(config.continuing_node == kNoId || config.continuing_node == 0 ||
             config.continuing_node < t.words.size,
         "a continuing node outside its trie");
  if (config.model == ModelKind::kUnigram) {
    if (config.owner == Owner::kSentencePiece) {
      check_scores(t.scores_single, size, config);
    } else {
      check_scores(t.scores, size, config);
    }
  }
  if (config.model == ModelKind::kBpe) check_bpe(t, config, size);
}

}  // namespace anydraft::detail
