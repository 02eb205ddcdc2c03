#include <algorithm>
#include <string>

#include "anydraft/error.h"
#include "vocab/build_parts.h"
#include "vocab/description.h"
#include "vocab/table_builder.h"

namespace anydraft::detail {
namespace {

void check_id(int64_t id, size_t size, const std::string& whose) {
  if (id >= 0 && id < static_cast<int64_t>(size)) return;
  throw Error(ErrorKind::kVocabulary, "[Vocabulary] expected the id of " + whose + " in [0, " +
                                          std::to_string(size) + "), got " + std::to_string(id));
}

// Bytes, specials, roles: what every vocabulary has.
void build_meaning(TableBuilder& builder, const Vocabulary::Table& table) {
  const size_t size = table.bytes.size();
  if (size >= 1u << 20) {
    throw Error(ErrorKind::kVocabulary,
                "[Vocabulary] expected fewer than 2^20 ids, got " + std::to_string(size));
  }
  std::vector<uint8_t> flags(size, 0);
  std::vector<AddedToken> specials;
  for (const auto& [text, id] : table.specials) {  // sorted by text
    check_id(id, size, "special " + text);
    flags[id] |= kSpecial;
    const auto [at, length] = builder.text(text);
    specials.push_back({static_cast<uint32_t>(id), kAddedSpecial, at, length});
  }
  for (int32_t id : table.byte_fallbacks) {
    check_id(id, size, "a byte fallback");
    flags[id] |= kByteFallback;
  }
  std::vector<Role> roles;
  for (const auto& [name, ids] : table.roles) {
    for (int32_t id : ids) {
      check_id(id, size, "role " + name);
      const auto [at, length] = builder.text(name);
      roles.push_back({at, length, static_cast<uint32_t>(id)});
    }
  }
  for (int32_t id : table.prefix) check_id(id, size, "the prefix");
  std::vector<char> bytes;
  std::vector<uint32_t> offsets{0};
  for (size_t id = 0; id < size; ++id) {
    const std::string& text = table.bytes[id];
    if (!(flags[id] & kSpecial)) bytes.insert(bytes.end(), text.begin(), text.end());
    offsets.push_back(static_cast<uint32_t>(bytes.size()));
  }
  builder.keep(builder.tables.bytes, std::move(bytes));
  builder.keep(builder.tables.offsets, std::move(offsets));
  builder.keep(builder.tables.flags, std::move(flags));
  builder.keep(builder.tables.specials, std::move(specials));
  builder.keep(builder.tables.roles, std::move(roles));
  builder.keep(builder.tables.prefix,
               std::vector<uint32_t>(table.prefix.begin(), table.prefix.end()));
}

// Whether any bytes can be spelled: a token for each byte, and nothing that drops text.
bool exact(const Tables& t, const EncoderConfig& config) {
  if (config.model == ModelKind::kWordPiece || config.affixes != 0) return false;
  if (!config.byte_level && !config.byte_fallback) return false;
  for (uint32_t kind : t.scanners) {
    if (drops_text(t, kind)) return false;
  }
  return std::none_of(t.byte_ids.begin(), t.byte_ids.end(),
                      [](uint32_t id) { return id == kNoId; });
}

}  // namespace

OwnedTables build_tables(const Vocabulary::Table& table) {
  TableBuilder builder;
  build_meaning(builder, table);
  return builder.finish();
}

OwnedTables build_tables(const Description& description) {
  TableBuilder builder;
  build_meaning(builder, description.table);
  EncoderConfig config = description.config;
  build_pipeline(builder, description, config);
  build_model(builder, description, config);
  build_added(builder, description);
  config.exact = exact(builder.tables, config);
  builder.keep(builder.tables.config, std::vector<EncoderConfig>{config});
  OwnedTables owned = builder.finish();
  check_tables(owned.tables);  // a description is no more to be trusted than a file
  return owned;
}

}  // namespace anydraft::detail
