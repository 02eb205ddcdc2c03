#include <string>
#include <tuple>

#include "anydraft/error.h"
#include "vocab/build_parts.h"
#include "vocab/normalize.h"

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

Step normalizer_step(TableBuilder& builder, const Component& part, EncoderConfig& config) {
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
    config.space_sign = 1;
    return make_step(builder, StepKind::kSignToSpace);
  }
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
    config.space_sign = 1;
    return make_step(builder, StepKind::kSentencePiece,
                     flag("add_dummy_prefix", 1, 1) | flag("remove_extra_whitespaces", 2, 1));
  }
  const std::string pattern = part.text("Regex");
  unsupported("normaliser", part.type + (pattern.empty() ? "" : " of the pattern " + pattern));
}

ScanKind digits(const Component& part) {
  return part.number("individual_digits") ? ScanKind::kDigitsEach : ScanKind::kDigitsRun;
}

ScanKind split(const Component& part, const EncoderConfig& config) {
  const std::string behavior = part.text("behavior");
  const bool isolated = behavior == "Isolated" && part.number("invert") == 0;
  const ScanKind kind = scanner_of_pattern(part.text("Regex"));
  if (kind != ScanKind::kNone && isolated) return kind;
  // Where the pattern matches every text throughout, keeping the matches is the same.
  const bool total =
      kind != ScanKind::kDigits3 && kind != ScanKind::kCjk && kind != ScanKind::kDeepseekWords;
  if (kind != ScanKind::kNone && total && behavior == "Removed" && part.number("invert"))
    return kind;
  // No spaces are left where the normaliser wrote signs for them.
  if (config.space_sign && part.text("String") == " ") return ScanKind::kNone;
  unsupported("pattern of Split", part.text("Regex") + part.text("String") + " (" + behavior +
                                      (part.number("invert") ? ", inverted)" : ")"));
}

ScanKind byte_level(const Component& part, EncoderConfig& config, bool first) {
  config.byte_level = 1;
  if (part.number("add_prefix_space", 1)) {
    if (!first) unsupported("pre-tokeniser", "ByteLevel with add_prefix_space after another one");
    config.prefix_space = PrefixSpace::kAlways;
  }
  return part.number("use_regex", 1) ? ScanKind::kGpt2 : ScanKind::kNone;
}

ScanKind metaspace(TableBuilder& builder, std::vector<Step>& steps, const Component& part,
                   EncoderConfig& config, bool first) {
  if (part.text("replacement", kSign) != kSign || !first) {
    unsupported("pre-tokeniser",
                first ? "Metaspace of " + part.text("replacement") : "Metaspace after another one");
  }
  const std::string scheme =
      part.text("prepend_scheme", part.number("add_prefix_space", 1) ? "always" : "never");
  if (scheme == "always") config.prefix_space = PrefixSpace::kAlways;
  if (scheme == "first") config.prefix_space = PrefixSpace::kFirst;
  if (!config.space_sign) steps.push_back(make_step(builder, StepKind::kSignToSpace));
  config.space_sign = 1;
  return part.number("split", 1) ? ScanKind::kMetaspace : ScanKind::kNone;
}

ScanKind pre_tokenizer_scanner(TableBuilder& builder, std::vector<Step>& steps,
                               const Component& part, EncoderConfig& config, bool first) {
  if (part.type == "ByteLevel") return byte_level(part, config, first);
  if (part.type == "Metaspace") return metaspace(builder, steps, part, config, first);
  if (config.space_sign && part.type != "Split") {
    unsupported("pre-tokeniser after space signs", part.type);
  }
  if (part.type == "Split") return split(part, config);
  if (part.type == "Digits") return digits(part);
  if (part.type == "Whitespace") return ScanKind::kWhitespace;
  if (part.type == "WhitespaceSplit") return ScanKind::kWhitespaceSplit;
  if (part.type == "BertPreTokenizer") return ScanKind::kBert;
  if (part.type == "Punctuation" && part.text("behavior", "Isolated") == "Isolated") {
    return ScanKind::kPunctuation;
  }
  unsupported("pre-tokeniser", part.type);
}

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

bool drops_text(ScanKind kind) {
  return kind == ScanKind::kWhitespace || kind == ScanKind::kWhitespaceSplit ||
         kind == ScanKind::kBert;
}

void build_pipeline(TableBuilder& builder, const Description& description, EncoderConfig& config) {
  std::vector<Step> steps;
  bool prepended = false;
  for (const Component& part : description.normalizer) {
    if (prepended && (part.type == "Strip" || part.type == "BertNormalizer")) {
      unsupported("normaliser after Prepend", part.type);  // its sign is a space here
    }
    prepended |= part.type == "Prepend";
    steps.push_back(normalizer_step(builder, part, config));
  }
  std::vector<uint32_t> scanners;
  bool first = true;
  for (const Component& part : description.pre_tokenizer) {
    const ScanKind kind = pre_tokenizer_scanner(builder, steps, part, config, first);
    if (kind != ScanKind::kNone) scanners.push_back(static_cast<uint32_t>(kind));
    first = false;
  }
  if (config.owner == Owner::kTiktoken) config.byte_level = 1;
  decode_style(description, config);
  builder.keep(builder.tables.normalizer, std::move(steps));
  builder.keep(builder.tables.scanners, std::move(scanners));
  builder.keep(builder.tables.charsmap,
               std::vector<uint8_t>(description.charsmap.begin(), description.charsmap.end()));
  builder.keep(builder.tables.ascii_forms, ascii_forms(builder.tables.charsmap));
}

}  // namespace anydraft::detail
