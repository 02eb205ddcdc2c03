// JSON as the files beside a model's weights hold it: RFC 8259, without duplicates. Texts may have
// bytes that are no UTF-8, which are taken as they are. The metadata of GGUF files become such too.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace anydraft::detail {

class Json {
 public:
  enum class Kind { kNull, kBool, kNumber, kText, kArray, kObject };
  using Members = std::vector<std::pair<std::string, Json>>;

  Json() = default;  // null
  explicit Json(bool value) : kind_(Kind::kBool), number_(value) {}
  explicit Json(double value) : kind_(Kind::kNumber), number_(value) {}
  explicit Json(std::string value) : kind_(Kind::kText), text_(std::move(value)) {}
  explicit Json(std::vector<Json> items) : kind_(Kind::kArray), items_(std::move(items)) {}
  // None where two keys are the same.
  static std::optional<Json> object(Members members);

  // Throws Error(kValue) that begins with `what` and names the byte.
  static Json parse(std::string_view text, const std::string& what);

  bool is(Kind kind) const { return kind_ == kind; }
  // None where it is something else, or no whole number below 2^53: a double holds each of those.
  std::optional<int64_t> whole() const;
  std::optional<double> number() const { return as(Kind::kNumber, number_); }
  std::optional<bool> truth() const { return as(Kind::kBool, number_ != 0); }
  std::optional<std::string_view> text() const { return as(Kind::kText, std::string_view(text_)); }
  const std::vector<Json>& items() const { return items_; }
  const Members& members() const { return members_; }
  // Null where an object has no such member, and in what is no object.
  const Json* member(std::string_view key) const;
  // Also where it is null.
  const Json* find(std::string_view key) const;

 private:
  template <class T>
  std::optional<T> as(Kind kind, T value) const {
    return is(kind) ? std::optional<T>(value) : std::nullopt;
  }
  Kind kind_ = Kind::kNull;
  double number_ = 0;
  std::string text_;
  std::vector<Json> items_;
  Members members_;  // sorted by key
};

}  // namespace anydraft::detail
