// Everything a vocabulary knows, as flat arrays without pointers: built in memory from a
// tokeniser's description, or mapped from an exported file and used where it lies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace anydraft::detail {

// A view of an array that somebody else keeps.
template <typename T>
struct Array {
  const T* data = nullptr;
  size_t size = 0;

  const T& operator[](size_t index) const { return data[index]; }
  const T* begin() const { return data; }
  const T* end() const { return data + size; }
  bool empty() const { return size == 0; }
};

constexpr uint32_t kNoId = 0xFFFFFFFF;

enum class ModelKind : uint32_t { kNone, kBpe, kUnigram, kWordPiece };

// Whose library is right about ids where the libraries differ.
enum class Owner : uint32_t { kTokenizers, kTiktoken, kSentencePiece };

// How the owner's library joins tokens to text.
enum class DecodeStyle : uint32_t {
  kBytes,          // bytes, then UTF-8 with U+FFFD for what is none
  kSigns,          // as kBytes, with one U+FFFD for each byte of a run of byte tokens that is none
  kMetaspace,      // no space signs in the first token
  kWordPiece,      // spaces between tokens but before continuing ones
  kSpaced,         // spaces between all tokens
  kSentencePiece,  // its own rules about spaces, unknown pieces and bytes
  kWordEnds,       // tokens that end a word end in a space; the last one shows none
};

// Whether the owner puts a space before a text that begins with none.
enum class PrefixSpace : uint32_t { kNever, kAlways, kFirst };

// One entry; every field is fixed when the tables are built.
struct EncoderConfig {
  ModelKind model = ModelKind::kNone;
  Owner owner = Owner::kTokenizers;
  uint32_t byte_level = 0;     // the model sees raw bytes (else UTF-8 characters)
  uint32_t ignore_merges = 0;  // a piece that is a token is that token, merges or not
  uint32_t fuse_unk = 0;
  uint32_t byte_fallback = 0;
  // The owner writes spaces as U+2581, in its pre-tokeniser (1) or its normaliser (2); here they
  // stay spaces.
  uint32_t space_sign = 0;
  uint32_t unk_id = kNoId;
  uint32_t max_word_chars = 0;   // WordPiece: a longer word is unknown
  uint32_t continuing_node = 0;  // WordPiece: node after the continuing prefix ("##")
  uint32_t exact = 0;            // any bytes can be spelled exactly
  DecodeStyle decode = DecodeStyle::kBytes;
  // Spaces at the beginning of a decoded text: how many go (kSigns), whether they do (kMetaspace),
  // one (1) or all (2) (kSentencePiece); kWordPiece: whether its English is tidied.
  uint32_t decode_strips = 0;
  PrefixSpace prefix_space = PrefixSpace::kNever;
  uint32_t tie_bits = 0;  // BPE: ranks that differ in these low bits only are the same
  uint32_t longest = 0;   // Unigram: bytes of the longest token
  uint32_t affixes = 0;   // BPE: bits of Affix, which mark where in a word a token stands
  // The scanner before which spaces become signs, and one is put before each piece; kNoId: before
  // all of them, as prefix_space says.
  uint32_t sign_level = kNoId;
  // The scanner from which on each byte of the text is GPT-2's stand-in for it; kNoId: none.
  uint32_t stand_in_level = kNoId;
  uint32_t reserved = 0;  // so that no byte of a file is left to chance
  double unk_score = 0;   // Unigram
};

// BPE: how `words` spells the marks of a word's continuations and ends.
enum Affix : uint32_t { kAffixEnd = 1, kAffixContinues = 2 };
constexpr char kContinuesMark = '\xFE', kEndMark = '\xFF';  // no bytes of any text

// A part of the normaliser: its StepKind, and flags and texts as that kind wants them.
struct Step {
  uint32_t kind = 0;
  uint32_t flags = 0;
  uint32_t text = 0, text_size = 0;    // in `strings`
  uint32_t other = 0, other_size = 0;  // in `strings`
};

enum class StepKind : uint32_t {
  kNfc,
  kNfd,
  kNfkc,
  kNfkd,
  kLowercase,
  kStrip,  // flags: 1 left, 2 right
  kStripAccents,
  kReplace,         // `text` becomes `other`
  kPrepend,         // `text`, before a text that is not empty
  kBert,            // flags: 1 clean_text, 2 handle_chinese_chars, 4 strip_accents, 8 lowercase
  kSignToSpace,     // U+2581 becomes a space: the two mean the same to the model
  kSentencePiece,   // charsmap; flags: 1 add_dummy_prefix, 2 remove_extra_whitespaces
  kPrecompiled,     // charsmap, as `tokenizers` applies it: by grapheme cluster
  kReplacePattern,  // what matches the split rule `flags` becomes `other`
};

enum TokenFlag : uint8_t {
  kSpecial = 1,
  kByteFallback = 2,  // stands for one byte beside an ordinary token (<0x41>)
  kWhole = 4,         // the encoding of its own bytes is the token itself
  kContinues = 8,     // WordPiece: goes on with a word
};

// Open addressing, power-of-two slots. Short keys are their bytes, zero-padded; long ones a hash.
struct PieceSlot {
  uint64_t key = 0;
  uint32_t id = kNoId;  // kNoId: free
  uint32_t length = 0;
};

// A token that is found in the text before any model sees it.
struct AddedToken {
  uint32_t id = 0;
  uint32_t flags = 0;                // AddedFlag
  uint32_t text = 0, text_size = 0;  // in `strings`
};

enum AddedFlag : uint32_t {
  kAddedSpecial = 1,
  kAddedSingleWord = 2,
  kAddedLeftStrip = 4,
  kAddedRightStrip = 8,
  kAddedNormalized = 16,
  kAddedInexact = 32,  // what is matched is not what the token stands for
};

// Trie over bytes, breadth first: the children of a node are neighbours, sorted by label.
struct Trie {
  Array<uint8_t> labels;   // [nodes]; of the root: 0
  Array<uint32_t> firsts;  // [nodes + 1] children of n are firsts[n] .. firsts[n + 1]
  Array<uint32_t> values;  // [nodes] kNoId: no key ends here
};

// ---- Patterns (pattern.h, split.h)
struct PatternStep {
  uint32_t op = 0, set = 0, x = 0, y = 0;  // PatternOp
};

struct CharacterSet {
  uint64_t ascii[2] = {0, 0};  // of ASCII: all there is to know
  uint32_t categories = 0;     // beyond ASCII: bits of Category,
  uint32_t properties = 0;     // of Property,
  uint32_t ranges = 0;         // and pairs of points, in `pattern_ranges`
  uint32_t range_count = 0;    // how many pairs
  uint32_t negated = 0;        // beyond ASCII: all others
  uint32_t reserved = 0;
};

struct SplitRule {
  uint32_t start = 0;                     // the pattern's first step
  uint32_t behavior = 0;                  // SplitBehavior
  uint32_t inverted = 0;                  // what lies between matches counts as them
  uint32_t first_beyond = 0;              // a match may begin beyond ASCII
  uint64_t first[2] = {0, 0};             // with which characters of ASCII it may
  uint64_t first_byte[4] = {0, 0, 0, 0};  // with the stand-ins of which bytes it may
};
constexpr uint32_t kSplitRule = 0x80000000;  // in `scanners`: the rule of the other bits

struct Role {
  uint32_t name = 0, name_size = 0;  // in `strings`
  uint32_t id = 0;
};

struct Tables {
  // ---- What ids stand for
  Array<char> bytes;           // of all ids, one after the other; specials and holes have none
  Array<uint32_t> offsets;     // [size + 1] of each id in `bytes`
  Array<uint8_t> flags;        // [size] TokenFlag
  Array<AddedToken> specials;  // sorted by text
  Array<Role> roles;           // in the order in which ids were given to a role
  Array<uint32_t> prefix;      // ids that the tokeniser puts before a text of its own (BOS)
  Array<char> strings;         // texts that other tables point into

  // ---- The encoder; empty where a function of the caller's encodes
  Array<EncoderConfig> config;  // [1] or []
  Array<Step> normalizer;
  Array<uint32_t> scanners;  // ScanKind or rule, each cutting the pieces of the one before
  Array<SplitRule> split_rules;
  Array<PatternStep> pattern_steps;
  Array<CharacterSet> pattern_sets;
  Array<uint32_t> pattern_ranges;  // pairs of first and last points
  Array<PieceSlot> pieces;         // bytes -> id, for BPE
  Array<uint64_t> pairs;           // BPE: open addressing, slot = left << 44 | right << 24 | rank
  Array<uint32_t> merged;          // BPE: [ranks] rank -> id
  Array<uint32_t> byte_ids;        // [256] byte -> id of the initial symbol (byte-level, fallback)
  Array<uint32_t> byte_pairs;      // byte-level BPE: [65536] first << 8 | second -> rank, or kNoId
  Array<uint8_t> joins;        // BPE over characters: bit set of pairs inside some token (joins.h)
  Array<double> scores;        // Unigram: [size + 1] of ids + 1; the first is minus infinity
  Array<float> scores_single;  // the same where the owner adds in float
  Array<uint64_t> words;    // Unigram, WordPiece, BPE with affixes: a double array (double_array.h)
  Array<AddedToken> added;  // tokens found before the model runs
  Trie added_trie, added_normalized_trie;  // text -> index in `added`
  Array<uint8_t> charsmap;  // SentencePiece's precompiled normalisation, as in its file
  // [128] what becomes of an ASCII character before another one; 0: ask the charsmap.
  Array<char> ascii_forms;
};

// Calls f(name, array) for every array, in the order of the exported file.
template <typename TablesType, typename F>
void each_array(TablesType& t, F&& f) {
  f("bytes", t.bytes);
  f("offsets", t.offsets);
  f("flags", t.flags);
  f("specials", t.specials);
  f("roles", t.roles);
  f("prefix", t.prefix);
  f("strings", t.strings);
  f("config", t.config);
  f("normalizer", t.normalizer);
  f("scanners", t.scanners);
  f("split_rules", t.split_rules);
  f("pattern_steps", t.pattern_steps);
  f("pattern_sets", t.pattern_sets);
  f("pattern_ranges", t.pattern_ranges);
  f("pieces", t.pieces);
  f("pairs", t.pairs);
  f("merged", t.merged);
  f("byte_ids", t.byte_ids);
  f("byte_pairs", t.byte_pairs);
  f("joins", t.joins);
  f("scores", t.scores);
  f("scores_single", t.scores_single);
  f("words", t.words);
  f("added", t.added);
  f("added_trie.labels", t.added_trie.labels);
  f("added_trie.firsts", t.added_trie.firsts);
  f("added_trie.values", t.added_trie.values);
  f("added_normalized_trie.labels", t.added_normalized_trie.labels);
  f("added_normalized_trie.firsts", t.added_normalized_trie.firsts);
  f("added_normalized_trie.values", t.added_normalized_trie.values);
  f("charsmap", t.charsmap);
  f("ascii_forms", t.ascii_forms);
}

// Tables with whatever keeps their arrays alive: vectors, or a mapped file.
struct OwnedTables {
  Tables tables;
  std::shared_ptr<const void> storage;
};

// Throws Error(kVocabulary) where an index points outside its table, so that no file, however
// broken, makes the encoder read out of bounds.
void check_tables(const Tables& tables);

inline std::string_view text_of(const Tables& tables, uint32_t at, uint32_t size) {
  return {tables.strings.data + at, size};
}

}  // namespace anydraft::detail
