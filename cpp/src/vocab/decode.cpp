#include "vocab/decode.h"

#include <algorithm>
#include <string_view>

#include "vocab/utf8.h"

namespace anydraft::detail {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// One U+FFFD for each longest beginning of a character that is not continued (Unicode 3.9).
void append_lossy(std::string& to, std::string_view bytes) {
  for (size_t at = 0; at < bytes.size();) {
    if (const size_t length = character_length(bytes, at)) {
      to.append(bytes, at, length);
      at += length;
    } else {
      to.append(kReplacement);
      at += std::max<size_t>(1, character_beginning(bytes, at));
    }
  }
}

bool valid(std::string_view bytes) { return valid_until(bytes, 0) == bytes.size(); }

// English as the `tokenizers` library's WordPiece decoder cleans it up.
void tidy(std::string& word) {
  static constexpr std::string_view kPairs[][2] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kPairs) {
    for (size_t at = 0; (at = word.find(from, at)) != std::string::npos; at += to.size()) {
      word.replace(at, from.size(), to);
    }
  }
}

class Decoder {
 public:
  Decoder(const Tables& t, bool skip_specials) : t_(t), skip_(skip_specials) {}

  std::string decode(const TokenIds& ids) {
    bool first = true;
    for (int32_t id : ids) {
      if (id < 0 || static_cast<size_t>(id) + 1 >= t_.offsets.size) continue;
      std::string_view token = text(id);
      if (token.empty()) continue;
      add(static_cast<uint32_t>(id), token, first);
      first = false;
    }
    flush();
    if (style() == DecodeStyle::kWordEnds && !out_.empty() && out_.back() == ' ') out_.pop_back();
    if (style() == DecodeStyle::kBytes) {
      std::string text;
      append_lossy(text, out_);
      return text;
    }
    if (style() == DecodeStyle::kSigns && !out_.empty()) {
      size_t strips = t_.config[0].decode_strips, at = 0;
      while (strips > 0 && at < out_.size() && out_[at] == ' ') ++at, --strips;
      out_.erase(0, at);
    }
    return out_;
  }

 private:
  DecodeStyle style() const {
    return t_.config.empty() ? DecodeStyle::kBytes : t_.config[0].decode;
  }

  std::string_view text(int32_t id) const {
    if (t_.flags[id] & kSpecial) {
      if (style() == DecodeStyle::kSentencePiece) {  // shows none but the unknown one
        return static_cast<uint32_t>(id) == t_.config[0].unk_id ? " \xE2\x81\x87 " : "";
      }
      if (skip_) return {};
      const auto found = std::find_if(t_.specials.begin(), t_.specials.end(),
                                      [&](const AddedToken& s) { return s.id == uint32_t(id); });
      return text_of(t_, found->text, found->text_size);
    }
    return {t_.bytes.data + t_.offsets[id], t_.offsets[id + 1] - t_.offsets[id]};
  }

  void add(uint32_t id, std::string_view token, bool first) {
    const uint8_t flags = t_.flags[id];
    switch (style()) {
      case DecodeStyle::kWordEnds:
      case DecodeStyle::kBytes:
        out_.append(token);
        return;
      case DecodeStyle::kSigns:
      case DecodeStyle::kSentencePiece:
        if (flags & kByteFallback) {
          run_.append(token);
          return;
        }
        flush();
        // The sign of an unknown piece keeps its own space.
        if (style() == DecodeStyle::kSentencePiece && !(flags & kSpecial)) strip_first(token);
        break;
      case DecodeStyle::kMetaspace:
        if (first && t_.config[0].decode_strips) {
          for (char c : token) {
            if (c != ' ') out_.push_back(c);
          }
          return;
        }
        break;
      case DecodeStyle::kWordPiece:
        return add_word(token, flags, first);
      case DecodeStyle::kSpaced:
        if (!first) out_.push_back(' ');
        break;
    }
    out_.append(token);
  }

  // Bytes are what a token shows within a text; the first one shows its continuing prefix, and no
  // space. The owner tidies tokens one by one.
  void add_word(std::string_view token, uint8_t flags, bool first) {
    if (first && (flags & kContinues)) out_.append("##");
    if (first && token[0] == ' ') token.remove_prefix(1);
    if (flags & kSpecial) {
      std::string word(first ? "" : " ");
      word.append(token);
      if (t_.config[0].decode_strips) tidy(word);
      out_.append(word);
      return;
    }
    out_.append(token);
  }

  // SentencePiece leaves out the space that it put before the text; all first spaces where it would
  // have trimmed them.
  void strip_first(std::string_view& token) {
    const uint32_t strips = t_.config[0].decode_strips;
    if (stripped_ || !out_.empty() || strips == 0 || token.empty() || token[0] != ' ') return;
    token.remove_prefix(1);
    stripped_ = strips == 1;
  }

  // A run of byte tokens: its text, and a sign for each byte that is none; for `tokenizers`, all of
  // it is text or none.
  void flush() {
    const bool all = style() == DecodeStyle::kSentencePiece || valid(run_);
    for (size_t at = 0; at < run_.size();) {
      const size_t length = all ? character_length(run_, at) : 0;
      out_.append(length > 0 ? std::string_view(run_).substr(at, length) : kReplacement);
      at += std::max<size_t>(1, length);
    }
    run_.clear();
  }

  const Tables& t_;
  const bool skip_;
  std::string out_, run_;
  bool stripped_ = false;
};

}  // namespace

std::string decode_as_owner(const Tables& tables, const TokenIds& ids, bool skip_specials) {
  const std::string joined = Decoder(tables, skip_specials).decode(ids);
  if (valid(joined)) return joined;
  std::string text;
  append_lossy(text, joined);
  return text;
}

}  // namespace anydraft::detail
