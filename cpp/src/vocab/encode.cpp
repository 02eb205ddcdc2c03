#include "vocab/encode.h"

#include <algorithm>

#include "vocab/added.h"
#include "vocab/normalize.h"
#include "vocab/scan.h"
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

// The scanners from `level` on, each cutting what the one before gave.
void cut(const Tables& t, size_t level, const uint8_t* categories, std::string_view text,
         const Model& model) {
  if (level == t.scanners.size) return model(text);
  const Scanner scan = scanner(static_cast<ScanKind>(t.scanners[level]));
  const bool last = level + 1 == t.scanners.size;
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
    encode_pieces(t_, part, true, score_, thread_scratch(), ids_, mark_);
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
                   Scratch& scratch, TokenIds& ids, Mark* mark) {
  cut(t, 0, unicode().category.data(), text, {t, scratch, ids, score, exact, mark});
}

void encode_as_owner(const Tables& t, std::string_view text, bool specials, TokenIds& ids) {
  Scratch& scratch = thread_scratch();
  const AddedRules rules{specials, false};
  const PrefixSpace prefix = t.config[0].prefix_space;
  const auto encode = [&](std::string_view part) {
    double score = 0;
    encode_pieces(t, part, false, score, scratch, ids, nullptr);
  };
  const auto on_section = [&](std::string_view section) {
    const bool first = section.data() == text.data();
    const std::string_view normal = normalize(t, section, scratch.normalized, scratch.other);
    const auto on_part = [&](std::string_view part) {
      const bool wants = prefix == PrefixSpace::kAlways ||
                         (prefix == PrefixSpace::kFirst && first && part.data() == normal.data());
      if (!wants || part[0] == ' ') return encode(part);
      std::string& spaced = scratch.spaced;
      spaced.assign(1, ' ').append(part);
      encode(spaced);
    };
    split_at_added(t, t.added_normalized_trie, rules, normal, ids, on_part, [](const char*) {});
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
