// GGUF files, versions 2 and 3, little-endian: metadata and tensors. What the header claims is
// checked against the file's size before anything is made of it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "decoder/model_file.h"

namespace anydraft::detail {

enum class GgufType : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kText,
  kArray,
  kUint64,
  kInt64,
  kFloat64
};

struct GgufValue {
  GgufType type;  // of an array: of its items
  bool is_array = false;
  const uint8_t* data = nullptr;  // in the file; a text behind its length in 8 bytes

  // None where it is another type, an array, or no whole number. What tokenisers want of arrays
  // Python reads: gguf_metadata.py.
  std::optional<int64_t> whole() const;
  std::optional<double> number() const;
  std::optional<bool> truth() const;
  std::optional<std::string_view> text() const;
};

class GgufFile {
 public:
  // Throws Error(kValue) that says what is wrong with the file.
  explicit GgufFile(const std::string& path);

  const MappedFile& file() const { return *file_; }
  const Tensors& tensors() const { return tensors_; }
  const GgufValue* find(const std::string& key) const;
  const std::unordered_map<std::string, GgufValue>& metadata() const { return metadata_; }

 private:
  std::shared_ptr<MappedFile> file_;
  std::unordered_map<std::string, GgufValue> metadata_;
  Tensors tensors_;
};

}  // namespace anydraft::detail
