#include "anydraft/vocabulary.h"

#include <algorithm>

#include "anydraft/error.h"
#include "vocab/utf8.h"

namespace anydraft {

Vocabulary::Vocabulary(Table table, Encoder encoder)
    : table_(std::move(table)),
      encoder_(std::move(encoder)),
      names_(table_.bytes.size()),
      fallback_(table_.bytes.size(), false) {
  const auto check = [this](int32_t id, const std::string& what) {
    if (id >= 0 && id < size()) return;
    throw Error(ErrorKind::kVocabulary, "[Vocabulary] expected an id in [0, " +
                                            std::to_string(size()) + ") for " + what + ", got " +
                                            std::to_string(id));
  };
  for (const auto& [text, id] : table_.specials) {
    check(id, "special " + text);
    names_[id] = text;
    table_.bytes[id].clear();
  }
  for (int32_t id : table_.byte_fallbacks) {
    check(id, "a byte fallback");
    fallback_[id] = true;
  }
  for (const auto& [name, ids] : table_.roles) {
    for (int32_t id : ids) check(id, "role " + name);
  }
  for (int32_t id : table_.prefix) check(id, "the prefix");
  std::fill(std::begin(byte_token_), std::end(byte_token_), -1);
  for (int32_t id = 0; id < size(); ++id) {
    const std::string& bytes = table_.bytes[id];
    if (bytes.size() != 1) continue;
    int32_t& slot = byte_token_[static_cast<uint8_t>(bytes[0])];
    if (slot < 0 || (fallback_[slot] && !fallback_[id])) slot = id;
  }
}

const std::string& Vocabulary::token_bytes(int32_t id) const {
  static const std::string none;
  return id >= 0 && id < size() ? table_.bytes[id] : none;
}

const TokenIds& Vocabulary::role(const std::string& name) const {
  static const TokenIds none;
  const auto found = table_.roles.find(name);
  return found == table_.roles.end() ? none : found->second;
}

TokenIds Vocabulary::encode(std::string_view bytes) const {
  TokenIds ids;
  size_t begin = 0, at = 0;
  const auto flush = [&] {
    if (at == begin) return;
    const TokenIds run = encoder_(bytes.substr(begin, at - begin));
    ids.insert(ids.end(), run.begin(), run.end());
  };
  while (at < bytes.size()) {
    const size_t length = detail::character_length(bytes, at);
    if (length > 0) {
      at += length;
      continue;
    }
    flush();
    const int32_t token = byte_token_[static_cast<uint8_t>(bytes[at])];
    if (token < 0) {
      throw Error(ErrorKind::kVocabulary, "[Vocabulary.encode] expected valid UTF-8, got byte " +
                                              std::to_string(static_cast<uint8_t>(bytes[at])) +
                                              ", for which this vocabulary has no token");
    }
    ids.push_back(token);
    begin = ++at;
  }
  flush();
  return ids;
}

std::string Vocabulary::decode(const TokenIds& ids) const {
  std::string bytes;
  for (int32_t id : ids) bytes += token_bytes(id);
  return bytes;
}

bool Vocabulary::operator==(const Vocabulary& other) const {
  return table_.bytes == other.table_.bytes && table_.specials == other.table_.specials &&
         table_.roles == other.table_.roles;
}

}  // namespace anydraft
