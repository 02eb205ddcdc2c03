// The tensors of a model's files, which stay mapped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "anydraft/error.h"
#include "base/mapped_file.h"
#include "decoder/matrix.h"

namespace anydraft::detail {

[[noreturn]] inline void fail(const std::string& expected) {
  throw Error(ErrorKind::kValue, "[Decoder] expected " + expected);
}

[[noreturn]] void refuse_file(const std::string& path, int error);  // of a MappedFile

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
