#include "bridge/settled.h"

#include <algorithm>
#include <cctype>

#include "vocab/scan.h"
#include "vocab/tables.h"

namespace anydraft::detail {
namespace {

enum class Sort { kLetter, kDigit, kSpace, kMark, kOther };

Sort sort_of(char c) {
  const auto byte = static_cast<unsigned char>(c);
  if (byte >= 128 || c == '\'') return Sort::kOther;  // 's, 'll: may belong to the word before
  if (std::isalpha(byte)) return Sort::kLetter;
  if (std::isdigit(byte)) return Sort::kDigit;
  if (c == ' ') return Sort::kSpace;
  return std::ispunct(byte) ? Sort::kMark : Sort::kOther;
}

// Where the patterns of cuts_words() always cut: behind a letter or a digit before a space and
// before punctuation; behind punctuation before a space.
bool always_cut(char left, char right) {
  const Sort before = sort_of(left), after = sort_of(right);
  const bool word = before == Sort::kLetter || before == Sort::kDigit;
  if (after == Sort::kSpace) return word || before == Sort::kMark;
  return word && after == Sort::kMark;
}

bool cuts_words(uint32_t scanner) {
  const auto kind = static_cast<ScanKind>(scanner);
  return (kind >= ScanKind::kGpt2 && kind <= ScanKind::kTekken) || kind == ScanKind::kDeepseekWords;
}

}  // namespace

bool first_token_settled(const Vocabulary& vocabulary, std::string_view text,
                         const Retokenizer& reader) {
  if (reader.stable() > 0) return true;
  const auto& scanners = vocabulary.tables().scanners;
  if (std::none_of(scanners.begin(), scanners.end(), cuts_words)) return false;
  for (size_t end : reader.ends()) {
    if (end > 0 && end < text.size() && always_cut(text[end - 1], text[end])) return true;
  }
  return false;
}

}  // namespace anydraft::detail
