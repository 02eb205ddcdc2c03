// Keeps the arrays of tables that are being made.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vocab/tables.h"

namespace anydraft::detail {

class TableBuilder {
 public:
  Tables tables;

  template <typename T>
  void keep(Array<T>& to, std::vector<T> values) {
    auto kept = std::make_shared<std::vector<T>>(std::move(values));
    to = {kept->data(), kept->size()};
    storage_->push_back(std::move(kept));
  }

  // Place of a text in `strings`.
  std::pair<uint32_t, uint32_t> text(std::string_view text) {
    const uint32_t at = static_cast<uint32_t>(strings_.size());
    strings_.insert(strings_.end(), text.begin(), text.end());
    keep_strings();
    return {at, static_cast<uint32_t>(text.size())};
  }

  // keys -> values; equal keys: the last.
  void keep(Trie& to, const std::map<std::string, uint32_t>& entries);
  // words -> ids, in `words`.
  void keep_words(const std::map<std::string, uint32_t>& words);

  OwnedTables finish() {
    keep_strings();
    keep(tables.strings, std::vector<char>(strings_));
    return {tables, storage_};
  }

 private:
  void keep_strings() { tables.strings = {strings_.data(), strings_.size()}; }

  std::shared_ptr<std::vector<std::shared_ptr<void>>> storage_ =
      std::make_shared<std::vector<std::shared_ptr<void>>>();
  std::vector<char> strings_;
};

}  // namespace anydraft::detail
