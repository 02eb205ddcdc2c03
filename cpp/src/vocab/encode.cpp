#include "vocab/encode.h"

#include <algorithm>

#include "vocab/added.h"
#include "vocab/normalize.h"
#include "vocab/scan.h"
#include "vocab/split.h"
#include "vocab/unicode.h"

namespace anydraft::detail {
namespace {

constexpr std::string_view kSign = "\xE2\x96\x81";

struct Model {
  const Tables& t;
  Scratch& scratch;
  TokenIds& ids;
  double& score;
  bool exact;
  Mark* mark;
  const char* origin;  // where the owner counts as the beginning of the text; may be null

  void operator()(std::string_view piece) const {
    // Only where no scanner looks at the text again may it be cut within a piece.
    Mark* inner = t.scanners.empty() ? mark : nullptr;
    switch (t.config[0].model) {
      case ModelKind::kBpe:
        encode_bpe(t, piece, scratch, ids, inner);
        break;
      case ModelKind::kWordPiece:
        encode_word_piece(t, piece, ids);
        break;
      case ModelKind::kUnigram:
        if (!t.scanners.empty()) score = 0;  // a piece is a text of its own
        encode_unigram(t, piece, exact, score, scratch, ids, inner);
        break;
      case ModelKind::kNone:
        return;
    }
    if (mark == nullptr || (inner != nullptr && mark->open)) return;
    mark->reach(piece.data() + piece.size(), ids.size(), score);
  }
};

void cut(const Tables& t, size_t level, const uint8_t* categories, std::string_view text,
         const Model& model);

// One scanner that is a rule.
void cut_by_rule(const Tables& t, size_t level, const uint8_t* categories, std::string_view text,
                 const Model& model) {
  const SplitRule& rule = t.split_rules[t.scanners[level] & ~kSplitRule];
  Mark* mark = model.mark;
  const bool open = mark != nullptr && mark->open;
  const char* end = text.data() + text.size();
  // What ends where it is final hangs on nothing behind it.
  const bool hangs = open && end > mark->limit;
  Splitter splitter(t, rule, categories, text);
  Piece piece;
  Seen seen;
  while (splitter.next(piece, seen)) {
    if (hangs && (seen.end || seen.furthest > mark->limit)) {
      mark->limit = std::min(mark->limit, piece.begin);
    }
    cut(t, level + 1, categories, {piece.begin, static_cast<size_t>(piece.end - piece.begin)},
        model);
  }
}

// The same on the stand-ins of the text's bytes, whose places are then looked up in the text.
void cut_stand_ins(const Tables& t, size_t level, const uint8_t* categories, std::string_view text,
                   const Model& model) {
  const SplitRule& rule = t.split_rules[t.scanners[level] & ~kSplitRule];
  const bool begins = std::any_of(text.begin(), text.end(), [&](char c) {
    const uint8_t byte = static_cast<uint8_t>(c);
    return rule.first_byte[byte / 64] >> (byte % 64) & 1;
  });
  if (!begins && rule.behavior != static_cast<uint32_t>(SplitBehavior::kRemoved)) {
    return cut(t, level + 1, categories, text, model);
  }
  std::string shown;
  for (char c : text) append_utf8(shown, stand_in(static_cast<uint8_t>(c)));
  if (model.mark != nullptr && model.mark->open && text.data() + text.size() > model.mark->limit) {
    model.mark->limit = std::min(model.mark->limit, text.data());
  }
  Splitter splitter(t, rule, categories, shown);
  Piece piece;
  Seen seen;
  const char *at = shown.data(), *byte = text.data();
  const auto skip_to = [&](const char* place) {
    for (; at != place; at = next_character(at)) ++byte;
  };
  while (splitter.next(piece, seen)) {
    skip_to(piece.begin);
    const char* begin = byte;
    skip_to(piece.end);
    cut(t, level + 1, categories, {begin, static_cast<size_t>(byte - begin)}, model);
  }
}

// What Metaspace does to a piece of the scanners before it.
std::string_view with_signs(const Tables& t, std::string_view text, const Model& model) {
  const PrefixSpace prefix = t.config[0].prefix_space;
  const bool wants = prefix == PrefixSpace::kAlways ||
                     (prefix == PrefixSpace::kFirst && text.data() == model.origin);
  std::string& to = model.scratch.spaced;
  const bool typed = text.find(kSign) != std::string_view::npos;
  if (!typed && !(wants && text[0] != ' ')) return text;
  to.assign(wants && text[0] != ' ' && text.substr(0, kSign.size()) != kSign ? 1 : 0, ' ');
  for (size_t sign; (sign = text.find(kSign)) != std::string_view::npos;) {
    to.append(text.substr(0, sign)).push_back(' ');
    text.remove_prefix(sign + kSign.size());
  }
  return to.append(text);
}

bool drops(uint32_t kind) {
  return kind == static_cast<uint32_t>(ScanKind::kWhitespaceSplit) ||
         kind == static_cast<uint32_t>(ScanKind::kWhitespace);
}

// The scanners from `level` on, each cutting what the one before gave.
void cut(const Tables& t, size_t level, const uint8_t* categories, std::string_view text,
         const Model& model) {
  const EncoderConfig& config = t.config[0];
  if (level == config.sign_level && !model.exact && !text.empty()) {
    text = with_signs(t, text, model);
  }
  if (level == t.scanners.size) return model(text);
  // To spell a text exactly, the white space that signs will stand for is kept.
  if (model.exact && config.sign_level != kNoId && level < config.sign_level &&
      drops(t.scanners[level])) {
    return cut(t, level + 1, categories, text, model);
  }
  if (level >= config.stand_in_level) return cut_stand_ins(t, level, categories, text, model);
  if (t.scanners[level] & kSplitRule) return cut_by_rule(t, level, categories, text, model);
  const Scanner scan = scanner(static_cast<ScanKind>(t.scanners[level]));
  const bool last = level + 1 == t.scanners.size && level + 1 != config.sign_level;
  for (const char *at = text.data(), *end = at + text.size(); at != end;) {
    const Piece piece = scan(categories, at, end);
    if (piece.begin == piece.end) return;
    const std::string_view part(piece.begin, piece.end - piece.begin);
    if (last) {
      model(part);
    } else {
      cut(t, level + 1, categories, part, model);
    }
    at = piece.end;
  }
}

// The text between matches, and the matches, in order.
template <typename OnText, typename OnMatch>
void split_at_added(const Tables& t, const Trie& trie, AddedRules rules, std::string_view text,
                    TokenIds& ids, OnText&& on_text, OnMatch&& on_match) {
  AddedMatcher matcher(t, trie, rules, text);
  const char *at = text.data(), *end = at + text.size();
  for (AddedMatch match = matcher.next(); match.token != nullptr; match = matcher.next()) {
    if (match.begin != at) on_text(std::string_view(at, match.begin - at));
    ids.push_back(static_cast<int32_t>(match.token->id));
    at = match.end;
    on_match(at);
  }
  if (at != end) on_text(std::string_view(at, end - at));
}

// The parts of a text that are encoded exactly, one by one.
class ExactParts {
 public:
  ExactParts(const Tables& t, std::string_view text, const char* horizon, double& score,
             TokenIds& ids, Mark* mark)
      : t_(t),
        end_(text.data() + text.size()),
        horizon_(horizon != nullptr ? horizon : end_),
        closed_(horizon == nullptr),
        score_(score),
        ids_(ids),
        mark_(mark) {}

  // Text without added tokens. A space sign as such can only be spelled in bytes where the model's
  // tokens write spaces so.
  void text(std::string_view part) {
    if (t_.config[0].space_sign) {
      for (size_t sign; (sign = part.find(kSign)) != std::string_view::npos;) {
        plain(part.substr(0, sign));
        for (char byte : kSign) {
          ids_.push_back(static_cast<int32_t>(t_.byte_ids[static_cast<uint8_t>(byte)]));
        }
        part.remove_prefix(sign + kSign.size());
        cut(part.data());
      }
    }
    plain(part);
  }

  // A place that ends one text and begins another.
  void cut(const char* place) {
    score_ = 0;
    if (mark_ == nullptr) return;
    mark_->limit = horizon_;
    mark_->reach(place, ids_.size(), 0);
  }

 private:
  void plain(std::string_view part) {
    if (part.empty()) return;
    const char *begin = part.data(), *end = begin + part.size();
    if (mark_ != nullptr) {
      mark_->open = !(end < horizon_ || (closed_ && end == end_));
      mark_->limit = !mark_->open ? end : std::min(end, horizon_);
      if (mark_->open && !t_.scanners.empty() && begin < horizon_) {
        mark_->limit = stable_limit(unicode().category.data(), begin, mark_->limit);
      }
    }
    encode_pieces(t_, part, true, score_, thread_scratch(), ids_, mark_, nullptr);
  }

  const Tables& t_;
  const char *const end_, *const horizon_;
  const bool closed_;
  double& score_;
  TokenIds& ids_;
  Mark* mark_;
};

}  // namespace

Scratch& thread_scratch() {
  thread_local Scratch scratch;
  return scratch;
}

void encode_pieces(const Tables& t, std::string_view text, bool exact, double& score,
                   Scratch& scratch, TokenIds& ids, Mark* mark, const char* origin) {
  cut(t, 0, unicode().category.data(), text, {t, scratch, ids, score, exact, mark, origin});
}

void encode_as_owner(const Tables& t, std::string_view text, bool specials, TokenIds& ids) {
  Scratch& scratch = thread_scratch();
  const AddedRules rules{specials, false},
      normal_rules{specials, false, t.config[0].space_sign == 2};
  // Else it comes before the first scanner.
  const bool later = t.config[0].sign_level != kNoId;
  const PrefixSpace prefix = later ? PrefixSpace::kNever : t.config[0].prefix_space;
  const auto encode = [&](std::string_view part, const char* origin = nullptr) {
    double score = 0;
    encode_pieces(t, part, false, score, scratch, ids, nullptr, origin);
  };
  const auto on_section = [&](std::string_view section) {
    const bool first = section.data() == text.data();
    const std::string_view normal = normalize(t, section, scratch.normalized, scratch.other);
    const auto on_part = [&](std::string_view part) {
      const bool wants = prefix == PrefixSpace::kAlways ||
                         (prefix == PrefixSpace::kFirst && first && part.data() == normal.data());
      if (!wants || part[0] == ' ') return encode(part, first ? normal.data() : nullptr);
      std::string& spaced = scratch.spaced;
      spaced.assign(1, ' ').append(part);
      encode(spaced);
    };
    split_at_added(t, t.added_normalized_trie, normal_rules, normal, ids, on_part,
                   [](const char*) {});
  };
  split_at_added(t, t.added_trie, rules, text, ids, on_section, [](const char*) {});
}

void encode_exactly(const Tables& t, std::string_view text, const char* horizon, double& score,
                    TokenIds& ids, Mark* mark) {
  const AddedRules rules{false, true};
  ExactParts parts(t, text, horizon, score, ids, mark);
  const auto on_match = [&](const char* end) { parts.cut(end); };
  const auto on_text = [&](std::string_view part) { parts.text(part); };
  split_at_added(
      t, t.added_trie, rules, text, ids,
      [&](std::string_view section) {
        split_at_added(t, t.added_normalized_trie, rules, section, ids, on_text, on_match);
      },
      on_match);
}

const char* open_end(const Tables& t, std::string_view bytes) {
  const std::string_view complete = bytes.substr(0, complete_utf8(bytes));
  return std::min({complete.data() + complete.size(), open_match(t.added_trie, bytes),
                   open_match(t.added_normalized_trie, bytes)});
}

}  // namespace anydraft::detail
