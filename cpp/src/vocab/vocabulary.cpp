#include "anydraft/vocabulary.h"

#include <algorithm>
#include <unordered_map>

#include "anydraft/error.h"
#include "vocab/decode.h"
#include "vocab/description.h"
#include "vocab/encode.h"
#include "vocab/tables.h"
#include "vocab/utf8.h"

namespace anydraft {

struct detail::VocabularyData {
  OwnedTables owned;
  Vocabulary::Encoder encoder;  // where the tables have none
  std::map<std::string, int32_t> specials;
  std::unordered_map<int32_t, std::string> special_texts;
  std::map<std::string, TokenIds> roles;
  TokenIds prefix;
  int32_t byte_token[256];  // -1: none; an ordinary token before a byte fallback, then the lowest
};

namespace {

std::string_view bytes_of(const detail::Tables& t, int32_t id) {
  return {t.bytes.data + t.offsets[id], t.offsets[id + 1] - t.offsets[id]};
}

std::shared_ptr<detail::VocabularyData> make_data(detail::OwnedTables owned) {
  auto data = std::make_shared<detail::VocabularyData>();
  const detail::Tables& t = owned.tables;
  for (const detail::AddedToken& special : t.specials) {
    const std::string text(text_of(t, special.text, special.text_size));
    data->specials[text] = static_cast<int32_t>(special.id);
    data->special_texts[static_cast<int32_t>(special.id)] = text;
  }
  for (const detail::Role& role : t.roles) {
    data->roles[std::string(text_of(t, role.name, role.name_size))].push_back(
        static_cast<int32_t>(role.id));
  }
  data->prefix.assign(t.prefix.begin(), t.prefix.end());
  std::fill(std::begin(data->byte_token), std::end(data->byte_token), -1);
  const auto fallback = [&](int32_t id) { return (t.flags[id] & detail::kByteFallback) != 0; };
  for (int32_t id = 0; id < static_cast<int32_t>(t.flags.size); ++id) {
    if (t.offsets[id + 1] - t.offsets[id] != 1) continue;
    int32_t& slot = data->byte_token[static_cast<uint8_t>(t.bytes[t.offsets[id]])];
    if (slot < 0 || (fallback(slot) && !fallback(id))) slot = id;
  }
  data->owned = std::move(owned);
  return data;
}

}  // namespace

Vocabulary::Vocabulary(const Table& table, Encoder encoder) {
  auto data = make_data(detail::build_tables(table));
  data->encoder = std::move(encoder);
  size_ = static_cast<int32_t>(data->owned.tables.flags.size);
  data_ = std::move(data);
}

Vocabulary::Vocabulary(detail::OwnedTables tables)
    : data_(make_data(std::move(tables))),
      size_(static_cast<int32_t>(data_->owned.tables.flags.size)) {}

const detail::Tables& Vocabulary::tables() const { return data_->owned.tables; }

bool Vocabulary::is_special(int32_t id) const {
  return id >= 0 && id < size_ && (tables().flags[id] & detail::kSpecial);
}

bool Vocabulary::is_byte_fallback(int32_t id) const {
  return tables().flags[id] & detail::kByteFallback;
}

std::string_view Vocabulary::token_bytes(int32_t id) const {
  return id >= 0 && id < size_ ? bytes_of(tables(), id) : std::string_view();
}

std::string_view Vocabulary::special_text(int32_t id) const {
  const auto found = data_->special_texts.find(id);
  return found == data_->special_texts.end() ? std::string_view() : found->second;
}

const std::map<std::string, int32_t>& Vocabulary::specials() const { return data_->specials; }

const TokenIds& Vocabulary::role(const std::string& name) const {
  static const TokenIds none;
  const auto found = data_->roles.find(name);
  return found == data_->roles.end() ? none : found->second;
}

const TokenIds& Vocabulary::prefix() const { return data_->prefix; }

bool Vocabulary::native() const { return !tables().config.empty(); }

bool Vocabulary::exact() const { return native() ? tables().config[0].exact != 0 : true; }

TokenIds Vocabulary::encode(std::string_view bytes) const {
  TokenIds ids;
  encode_with_mark(bytes, 0, ids, nullptr);
  return ids;
}

void Vocabulary::encode_with_mark(std::string_view bytes, double score, TokenIds& ids,
                                  detail::Mark* mark) const {
  const size_t before = ids.size();
  const char* horizon = native() && mark != nullptr ? detail::open_end(tables(), bytes) : nullptr;
  size_t begin = 0, at = 0;
  const auto run = [&] {
    const std::string_view text = bytes.substr(begin, at - begin);
    if (text.empty()) return;
    if (native()) {
      // What comes next is a stray byte; where that is sure, so is all before it.
      const bool closed = horizon == nullptr || bytes.data() + at < horizon;
      detail::encode_exactly(tables(), text, closed ? nullptr : horizon, score, ids, mark);
    } else {
      const TokenIds own = data_->encoder(text);
      ids.insert(ids.end(), own.begin(), own.end());
    }
  };
  while ((at = detail::valid_until(bytes, at)) < bytes.size()) {
    run();
    const int32_t token = data_->byte_token[static_cast<uint8_t>(bytes[at])];
    if (token < 0) {
      throw Error(ErrorKind::kVocabulary, "[Vocabulary.encode] expected valid UTF-8, got byte " +
                                              std::to_string(static_cast<uint8_t>(bytes[at])) +
                                              ", for which this vocabulary has no token");
    }
    ids.push_back(token);
    begin = ++at;
    score = 0;
    if (horizon == nullptr) continue;
    mark->limit = horizon;
    mark->reach(bytes.data() + at, ids.size(), 0);
  }
  run();
  if (!native() || tables().config[0].exact) return;
  const std::string spelled = decode(TokenIds(ids.begin() + before, ids.end()));
  if (spelled != bytes) {
    throw Error(
        ErrorKind::kVocabulary,
        "[Vocabulary.encode] expected a text that this vocabulary's tokens can spell, got '" +
            std::string(bytes) + "', which becomes '" + spelled + "'");
  }
}

TokenIds Vocabulary::encode_as_owner(std::string_view text, bool specials) const {
  if (!native()) {
    throw Error(ErrorKind::kUnsupportedTokenizer,
                "[Vocabulary.encode_as_owner] expected a native tokeniser, got one whose texts a "
                "function of the caller's encodes");
  }
  const size_t valid = detail::valid_until(text, 0);
  if (valid != text.size()) {
    throw Error(ErrorKind::kValue, "[Vocabulary.encode_as_owner] expected valid UTF-8, got byte " +
                                       std::to_string(static_cast<uint8_t>(text[valid])) + " at " +
                                       std::to_string(valid));
  }
  TokenIds ids;
  detail::encode_as_owner(tables(), text, specials, ids);
  return ids;
}

std::string Vocabulary::decode(const TokenIds& ids) const {
  std::string bytes;
  for (int32_t id : ids) bytes += token_bytes(id);
  return bytes;
}

std::string Vocabulary::decode_as_owner(const TokenIds& ids, bool skip_specials) const {
  return detail::decode_as_owner(tables(), ids, skip_specials);
}

bool Vocabulary::operator==(const Vocabulary& other) const {
  if (data_ == other.data_) return true;
  const detail::Tables &a = tables(), &b = other.tables();
  return std::equal(a.bytes.begin(), a.bytes.end(), b.bytes.begin(), b.bytes.end()) &&
         std::equal(a.offsets.begin(), a.offsets.end(), b.offsets.begin(), b.offsets.end()) &&
         data_->specials == other.data_->specials && data_->roles == other.data_->roles;
}

}  // namespace anydraft
