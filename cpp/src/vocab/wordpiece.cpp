#include "vocab/double_array.h"
#include "vocab/models.h"
#include "vocab/unicode.h"

namespace anydraft::detail {

void encode_word_piece(const Tables& t, std::string_view word, TokenIds& ids) {
  const EncoderConfig& config = t.config[0];
  const size_t before = ids.size();
  size_t characters = 0;
  for (char c : word) characters += (static_cast<uint8_t>(c) & 0xC0) != 0x80;
  bool known = characters <= config.max_word_chars;
  for (size_t at = 0; known && at < word.size();) {
    const uint32_t root = at == 0 ? 0 : config.continuing_node;
    uint64_t unit = root == kNoId ? 0 : t.words[root];
    uint32_t id = 0;  // + 1
    size_t end = at;
    for (size_t stop = at; unit != 0 && stop < word.size();) {
      unit = child_of(t.words.data, unit, static_cast<uint8_t>(word[stop++]));
      if (const uint32_t found = word_of(unit); found != 0) id = found, end = stop;
    }
    known = id != 0;
    if (known) ids.push_back(static_cast<int32_t>(id - 1));
    at = end;
  }
  if (!known) {
    ids.resize(before);
    if (config.unk_id != kNoId) ids.push_back(static_cast<int32_t>(config.unk_id));
  }
}

}  // namespace anydraft::detail
