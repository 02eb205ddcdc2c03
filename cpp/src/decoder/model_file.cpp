#include "decoder/model_file.h"

#include <algorithm>
#include <cstring>

namespace anydraft::detail {

void refuse_file(const std::string& path, int error) {
  if (error == 0) fail("a file with content, got " + path);
  fail("a readable file, got " + path + ": " + std::strerror(error));
}

bool measure(const std::vector<int64_t>& shape, const ElementType& type, uint64_t* bytes) {
  constexpr uint64_t kMost = uint64_t{1} << 54;  // times bytes of a block: no overflow
  uint64_t count = 1;
  for (int64_t length : shape) {
    if (length < 1 || static_cast<uint64_t>(length) > kMost / count) return false;
    count *= static_cast<uint64_t>(length);
  }
  const int64_t row = shape.empty() ? 1 : shape.back();
  if (row % type.block != 0) return false;
  *bytes = count / static_cast<uint64_t>(type.block) * static_cast<uint64_t>(type.bytes);
  return true;
}

void add_tensor(Tensors& tensors, std::string name, Tensor tensor) {
  const auto [at, is_new] = tensors.emplace(std::move(name), std::move(tensor));
  if (!is_new) fail("tensors of different names, got two of " + at->first);
}

void check_overlaps(const Tensors& tensors) {
  std::vector<const std::pair<const std::string, Tensor>*> sorted;
  for (const auto& entry : tensors) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(),
            [](auto* a, auto* b) { return a->second.data < b->second.data; });
  for (size_t i = 1; i < sorted.size(); ++i) {
    const Tensor& before = sorted[i - 1]->second;
    if (before.data + before.bytes > sorted[i]->second.data) {
      fail("tensors that share no bytes, got " + sorted[i - 1]->first + " and " + sorted[i]->first);
    }
  }
}

const Tensor* find_tensor(const Tensors& tensors, const std::string& name) {
  const auto at = tensors.find(name);
  return at == tensors.end() ? nullptr : &at->second;
}

}  // namespace anydraft::detail
