// The tensors of a model's files, which stay mapped: nothing is read before it is used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "anydraft/error.h"
#include "decoder/matrix.h"

namespace anydraft::detail {

[[noreturn]] inline void fail(const std::string& expected) {
  throw Error(ErrorKind::kValue, "[Decoder] expected " + expected);
}

// A file's bytes. It must not be cut short while it is mapped.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);  // throws Error(kValue) where it cannot be read
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  const uint8_t* data() const { return data_; }
  uint64_t size() const { return size_; }
  // These bytes are not needed soon: they no longer count as this process's memory.
  void release(const uint8_t* from, uint64_t bytes) const;

 private:
  std::string path_;
  const uint8_t* data_ = nullptr;
  uint64_t size_ = 0;
};

struct Tensor {
  const ElementType* type = nullptr;
  std::vector<int64_t> shape;  // outermost first; a matrix: [outputs, inputs]
  const uint8_t* data = nullptr;
  uint64_t bytes = 0;
  const MappedFile* file = nullptr;
};

// Sets the bytes of a tensor; false where a length is below 1, rows are not whole blocks, or it has
// more than 2^54 numbers.
bool measure(const std::vector<int64_t>& shape, const ElementType& type, uint64_t* bytes);

using Tensors = std::unordered_map<std::string, Tensor>;
// Throws Error(kValue) for a name that is there already.
void add_tensor(Tensors& tensors, std::string name, Tensor tensor);
// Throws Error(kValue) where two tensors share bytes.
void check_overlaps(const Tensors& tensors);
const Tensor* find_tensor(const Tensors& tensors, const std::string& name);  // null: none

}  // namespace anydraft::detail
