#include <string>
#include <tuple>

#include "anydraft/error.h"
#include "vocab/build_parts.h"
#include "vocab/normalize.h"
#include "vocab/split_builder.h"
#include "vocab/unicode.h"

namespace anydraft::detail {
namespace {

constexpr const char* kSign = "\xE2\x96\x81";

[[noreturn]] void unsupported(const std::string& where, const std::string& what) {
  throw Error(ErrorKind::kUnsupportedTokenizer,
              "[Vocabulary] expected a supported " + where + ", got " + what);
}

struct NamedStep {
  const char* name;
  StepKind kind;
};

Step make_step(TableBuilder& builder, StepKind kind, uint32_t flags = 0,
               const std::string& text = "", const std::string& other = "") {
  Step step;
  step.kind = static_cast<uint32_t>(kind);
  step.flags = flags;
  std::tie(step.text, step.text_size) = builder.text(text);
  std::tie(step.other, step.other_size) = builder.text(other);
  return step;
}

// A text with space signs as spaces, as the model's tables have it.
std::string with_spaces(std::string text) {
  for (size_t at = 0; (at = text.find(kSign, at)) != std::string::npos;) text.replace(at, 3, " ");
  return text;
}

Step normalizer_step(TableBuilder& builder, SplitBuilder& rules, const Component& part,
                     EncoderConfig& config) {
  static constexpr NamedStep kPlain[] = {{"NFC", StepKind::kNfc},
                                         {"NFD", StepKind::kNfd},
                                         {"NFKC", StepKind::kNfkc},
                                         {"NFKD", StepKind::kNfkd},
                                         {"Lowercase", StepKind::kLowercase},
                                         {"StripAccents", StepKind::kStripAccents}};
  if (config.space_sign && part.type != "Prepend") {
    unsupported("normaliser after space signs", part.type);
  }
  for (const NamedStep& plain : kPlain) {
    if (part.type == plain.name) return make_step(builder, plain.kind);
  }
  const auto flag = [&](const char* key, uint32_t bit, int64_t otherwise = 0) {
    return part.number(key, otherwise) != 0 ? bit : 0;
  };
  if (part.type == "Strip") {
    return make_step(builder, StepKind::kStrip,
                     flag("strip_left", 1, 1) | flag("strip_right", 2, 1));
  }
  if (part.type == "Prepend") {
    return make_step(builder, StepKind::kPrepend, 0, with_spaces(part.text("prepend")));
  }
  if (part.type == "Replace" && part.texts.count("String") != 0 && !part.text("String").empty()) {
    const std::string what = part.text("String"), with = part.text("content");
    if (what != " " || with != kSign) return make_step(builder, StepKind::kReplace, 0, what, with);
    config.space_sign = 2;
    return make_step(builder, StepKind::kSignToSpace);
  }
  if (part.type == "Replace" && part.texts.count("Regex") != 0) {
    const uint32_t rule = rules.pattern(part.text("Regex"), "Isolated", false, false);
    const std::string content = part.text("content");
    return make_step(builder, StepKind::kReplacePattern, rule, "",
                     content == kSign ? " " : content);
  }
  if (part.type == "Precompiled") return make_step(builder, StepKind::kPrecompiled);
  if (part.type == "BertNormalizer") {
    const bool lower = part.number("lowercase", 1) != 0;
    return make_step(builder, StepKind::kBert,
                     flag("clean_text", 1, 1) | flag("handle_chinese_chars", 2, 1) |
                         flag("strip_accents", 4, lower) | (lower ? 8 : 0));
  }
  if (part.type == "SentencePiece") {
    if (part.number("treat_whitespace_as_suffix") || !part.number("escape_whitespaces", 1)) {
      unsupported("normaliser", "SentencePiece with spaces as suffixes or not escaped");
    }
    config.space_sign = 2;
    return make_step(builder, StepKind::kSentencePiece,
                     flag("add_dummy_prefix", 1, 1) | flag("remove_extra_whitespaces", 2, 1));
  }
  const std::string pattern = part.text("Regex");
  unsupported("normaliser", part.type + (pattern.empty() ? "" : " of the pattern " + pattern));
}

ScanKind digits(const Component& part) {
  return part.number("individual_digits") ? ScanKind::kDigitsEach : ScanKind::kDigitsRun;
}

// The pre-tokenisers, one after the other.
class Scanners {
 public:
  Scanners(TableBuilder& builder, SplitBuilder& rules, std::vector<Step>& steps,
           EncoderConfig& config)
      : builder_(builder), rules_(rules), steps_(steps), config_(config) {}

  void add(const Component& part) {
    if (part.type == "ByteLevel") {
      byte_level(part);
    } else if (part.type == "Metaspace") {
      metaspace(part);
    } else if (part.type == "Split") {
      split(part);
    } else if (part.type == "Digits") {
      const bool each = part.number("individual_digits") != 0;
      if (stands_in())
        return add_rule(rules_.properties(kNumeric, each ? "Isolated" : "Contiguous"));
      add(digits(part));
    } else if (part.type == "Punctuation") {
      const std::string behavior = part.text("behavior", "Isolated");
      if (!stands_in() && behavior == "Isolated") return add(ScanKind::kPunctuation);
      add_rule(rules_.properties(kPunctuated, behavior));
    } else if (part.type == "CharDelimiterSplit") {
      refuse_signs(part.type);
      add_rule(rules_.literal(part.text("delimiter"), "Removed", false));
    } else if (const ScanKind kind = plain(part.type); kind != ScanKind::kNone) {
      refuse_signs(part.type);
      add(kind);
    } else {
      unsupported("pre-tokeniser", part.type);
    }
    any_ = true;
  }

  std::vector<uint32_t> finish() {
    if (config_.stand_in_level == made_.size()) config_.stand_in_level = kNoId;
    return std::move(made_);
  }

 private:
  bool stands_in() const { return config_.stand_in_level != kNoId; }

  void add(ScanKind kind) {
    if (kind != ScanKind::kNone) made_.push_back(static_cast<uint32_t>(kind));
    any_ = true;
  }

  void add_rule(uint32_t rule) {
    made_.push_back(kSplitRule | rule);
    any_ = true;
  }

  // Where spaces are written as signs, or as stand-ins, they are no white space any more.
  void refuse_signs(const std::string& type) const {
    if (config_.space_sign) unsupported("pre-tokeniser after space signs", type);
    if (stands_in()) unsupported("pre-tokeniser after ByteLevel", type);
  }

  static ScanKind plain(const std::string& type) {
    if (type == "Whitespace") return ScanKind::kWhitespace;
    if (type == "WhitespaceSplit") return ScanKind::kWhitespaceSplit;
    return type == "BertPreTokenizer" ? ScanKind::kBert : ScanKind::kNone;
  }

  void split(const Component& part) {
    const std::string behavior = part.text("behavior"), regex = part.text("Regex");
    const bool inverted = part.number("invert") != 0;
    const bool literal = part.texts.count("String") != 0;
    // No spaces are left where the normaliser wrote signs for them.
    if (config_.space_sign && literal && part.text("String") == " ") return;
    const ScanKind kind = stands_in() ? ScanKind::kNone : scanner_of_pattern(regex);
    // Where the pattern matches every text throughout, keeping the matches is the same.
    const bool total =
        kind != ScanKind::kDigits3 && kind != ScanKind::kCjk && kind != ScanKind::kDeepseekWords;
    const bool keeps = total && behavior == "Removed" && inverted;
    if (kind != ScanKind::kNone && ((behavior == "Isolated" && !inverted) || keeps)) {
      return add(kind);
    }
    if (literal) {
      const std::string text = part.text("String");
      const bool signs = config_.space_sign != 0;
      return add_rule(rules_.literal(signs ? with_spaces(text) : text, behavior, inverted));
    }
    add_rule(rules_.pattern(regex, behavior, inverted, config_.space_sign != 0));
  }

  void byte_level(const Component& part) {
    if (stands_in()) unsupported("pre-tokeniser", "ByteLevel twice");
    config_.byte_level = 1;
    if (part.number("add_prefix_space", 1)) {
      if (any_) unsupported("pre-tokeniser", "ByteLevel with add_prefix_space after another one");
      config_.prefix_space = PrefixSpace::kAlways;
    }
    if (part.number("use_regex", 1)) add(ScanKind::kGpt2);
    config_.stand_in_level = static_cast<uint32_t>(made_.size());
  }

  void metaspace(const Component& part) {
    if (part.text("replacement", kSign) != kSign) {
      unsupported("pre-tokeniser", "Metaspace of " + part.text("replacement"));
    }
    if (stands_in() || config_.sign_level != kNoId) {
      unsupported("pre-tokeniser", "Metaspace after ByteLevel or Metaspace");
    }
    const std::string scheme =
        part.text("prepend_scheme", part.number("add_prefix_space", 1) ? "always" : "never");
    if (scheme == "always") config_.prefix_space = PrefixSpace::kAlways;
    if (scheme == "first") config_.prefix_space = PrefixSpace::kFirst;
    if (any_ && !config_.space_sign) {
      config_.sign_level = static_cast<uint32_t>(made_.size());
    } else if (!config_.space_sign) {
      steps_.push_back(make_step(builder_, StepKind::kSignToSpace));
    } else if (any_ && config_.prefix_space != PrefixSpace::kNever) {
      unsupported("pre-tokeniser", "Metaspace after another one");
    }
    if (!config_.space_sign) config_.space_sign = 1;
    if (part.number("split", 1)) add(ScanKind::kMetaspace);
  }

  TableBuilder& builder_;
  SplitBuilder& rules_;
  std::vector<Step>& steps_;
  EncoderConfig& config_;
  std::vector<uint32_t> made_;
  bool any_ = false;
};

void decode_style(const Description& description, EncoderConfig& config) {
  std::string names;
  for (const Component& part : description.decoder)
    names += (names.empty() ? "" : ", ") + part.type;
  if (config.owner == Owner::kSentencePiece) {
    config.decode = DecodeStyle::kSentencePiece;
    for (const Component& part : description.normalizer) {
      const bool trims = part.number("remove_extra_whitespaces", 1) != 0;
      config.decode_strips = trims ? 2 : part.number("add_dummy_prefix", 1) != 0;
    }
  } else if (names == "BPEDecoder" || (config.affixes & kAffixEnd)) {
    config.decode = DecodeStyle::kWordEnds;
  } else if (names == "ByteLevel" || config.owner == Owner::kTiktoken) {
    config.decode = DecodeStyle::kBytes;
  } else if (names == "Replace, ByteFallback, Fuse" ||
             names == "Replace, ByteFallback, Fuse, Strip") {
    config.decode = DecodeStyle::kSigns;
    config.decode_strips = static_cast<uint32_t>(description.decoder.back().number("start"));
  } else if (names == "Metaspace") {
    config.decode = DecodeStyle::kMetaspace;
    const Component& part = description.decoder[0];
    config.decode_strips = part.text("prepend_scheme", "always") != "never";
  } else if (names == "WordPiece" && description.decoder[0].text("prefix", "##") == "##") {
    config.decode = DecodeStyle::kWordPiece;
    config.decode_strips = description.decoder[0].number("cleanup", 1) != 0;
  } else if (names.empty()) {
    config.decode = DecodeStyle::kSpaced;
  } else {
    unsupported("decoder", names);
  }
}

}  // namespace

bool drops_text(const Tables& t, uint32_t scanner) {
  if (scanner & kSplitRule) {
    return t.split_rules[scanner & ~kSplitRule].behavior ==
           static_cast<uint32_t>(SplitBehavior::kRemoved);
  }
  const auto kind = static_cast<ScanKind>(scanner);
  return kind == ScanKind::kWhitespace || kind == ScanKind::kWhitespaceSplit ||
         kind == ScanKind::kBert;
}

void build_pipeline(TableBuilder& builder, const Description& description, EncoderConfig& config) {
  std::vector<Step> steps;
  SplitBuilder rules(builder, description.config.owner == Owner::kTiktoken);
  bool prepended = false;
  for (const Component& part : description.normalizer) {
    if (prepended && (part.type == "Strip" || part.type == "BertNormalizer")) {
      unsupported("normaliser after Prepend", part.type);  // its sign is a space here
    }
    prepended |= part.type == "Prepend";
    steps.push_back(normalizer_step(builder, rules, part, config));
    const bool signs =
        part.type == "Replace" && part.text("content") == kSign && part.texts.count("Regex") != 0;
    if (!signs) continue;
    steps.push_back(make_step(builder, StepKind::kSignToSpace));
    config.space_sign = 2;
  }
  Scanners scanners(builder, rules, steps, config);
  for (const Component& part : description.pre_tokenizer) scanners.add(part);
  if (config.owner == Owner::kTiktoken) config.byte_level = 1;
  decode_style(description, config);
  builder.keep(builder.tables.normalizer, std::move(steps));
  builder.keep(builder.tables.scanners, scanners.finish());
  rules.finish();
  builder.keep(builder.tables.charsmap,
               std::vector<uint8_t>(description.charsmap.begin(), description.charsmap.end()));
  builder.keep(builder.tables.ascii_forms, ascii_forms(builder.tables.charsmap));
}

}  // namespace anydraft::detail
