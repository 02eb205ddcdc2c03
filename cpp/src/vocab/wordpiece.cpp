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
    uint32_t node = at == 0 ? 0 : config.continuing_node, id = kNoId;
    size_t end = at;
    for (size_t stop = at; node != kNoId && stop < word.size();) {
      node = child(t.words, node, static_cast<uint8_t>(word[stop++]));
      if (node != kNoId && t.words.values[node] != kNoId) id = t.words.values[node], end = stop;
    }
    known = id != kNoId;
    if (known) ids.push_back(static_cast<int32_t>(id));
    at = end;
  }
  if (!known) {
    ids.resize(before);
    if (config.unk_id != kNoId) ids.push_back(static_cast<int32_t>(config.unk_id));
  }
}

}  // namespace anydraft::detail
