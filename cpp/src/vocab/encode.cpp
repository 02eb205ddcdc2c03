#include "vocab/encode.h"

#include <cstring>

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

  void operator()(std::string_view piece) const {
    switch (t.config[0].model) {
      case ModelKind::kBpe:
        return encode_bpe(t, piece, scratch, ids);
      case ModelKind::kWordPiece:
        return encode_word_piece(t, piece, ids);
      case ModelKind::kUnigram:
        if (!t.config[0].single_precision) score = 0;  // tokenizers begins anew with every piece
        return encode_unigram(t, piece, score, scratch, ids);
      case ModelKind::kNone:
        return;
    }
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
template <typename OnText>
void split_at_added(const Tables& t, const Trie& trie, AddedRules rules, std::string_view text,
                    TokenIds& ids, OnText&& on_text) {
  AddedMatcher matcher(t, trie, rules, text);
  const char *at = text.data(), *end = at + text.size();
  for (AddedMatch match = matcher.next(); match.token != nullptr; match = matcher.next()) {
    if (match.begin != at) on_text(std::string_view(at, match.begin - at));
    ids.push_back(static_cast<int32_t>(match.token->id));
    at = match.end;
  }
  if (at != end) on_text(std::string_view(at, end - at));
}

// A space sign as such can only be spelled in bytes where the model's tokens write spaces so.
void encode_without_signs(const Tables& t, std::string_view text, Scratch& scratch, TokenIds& ids) {
  double score = 0;
  if (t.config[0].space_sign) {
    for (size_t sign; (sign = text.find(kSign)) != std::string_view::npos;) {
      if (sign > 0) encode_pieces(t, text.substr(0, sign), score, scratch, ids);
      for (char byte : kSign) {
        ids.push_back(static_cast<int32_t>(t.byte_ids[static_cast<uint8_t>(byte)]));
      }
      score = 0;
      text.remove_prefix(sign + kSign.size());
    }
  }
  if (!text.empty()) encode_pieces(t, text, score, scratch, ids);
}

}  // namespace

Scratch& thread_scratch() {
  thread_local Scratch scratch;
  return scratch;
}

void encode_pieces(const Tables& t, std::string_view text, double& score, Scratch& scratch,
                   TokenIds& ids) {
  cut(t, 0, unicode().category.data(), text, {t, scratch, ids, score});
}

void encode_as_owner(const Tables& t, std::string_view text, bool specials, TokenIds& ids) {
  Scratch& scratch = thread_scratch();
  const AddedRules rules{specials, false};
  const PrefixSpace prefix = t.config[0].prefix_space;
  const auto encode = [&](std::string_view part) {
    double score = 0;
    encode_pieces(t, part, score, scratch, ids);
  };
  split_at_added(t, t.added_trie, rules, text, ids, [&](std::string_view section) {
    const bool first = section.data() == text.data();
    const std::string_view normal = normalize(t, section, scratch.normalized, scratch.other);
    split_at_added(t, t.added_normalized_trie, rules, normal, ids, [&](std::string_view part) {
      const bool wants = prefix == PrefixSpace::kAlways ||
                         (prefix == PrefixSpace::kFirst && first && part.data() == normal.data());
      if (!wants || part[0] == ' ') return encode(part);
      std::string& spaced = scratch.spaced;
      spaced.assign(1, ' ').append(part);
      encode(spaced);
    });
  });
}

void encode_exactly(const Tables& t, std::string_view text, TokenIds& ids) {
  Scratch& scratch = thread_scratch();
  const AddedRules rules{false, true};
  split_at_added(t, t.added_trie, rules, text, ids, [&](std::string_view section) {
    split_at_added(t, t.added_normalized_trie, rules, section, ids,
                   [&](std::string_view part) { encode_without_signs(t, part, scratch, ids); });
  });
}

}  // namespace anydraft::detail
