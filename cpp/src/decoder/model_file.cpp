#include "decoder/model_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace anydraft::detail {

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail("a readable file, got " + path + ": " + std::strerror(errno));
  struct stat about;
  const bool plain = ::fstat(file, &about) == 0 && S_ISREG(about.st_mode) && about.st_size > 0;
  void* bytes = MAP_FAILED;
  if (plain) {
    size_ = static_cast<uint64_t>(about.st_size);
    bytes = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
  }
  ::close(file);
  if (bytes == MAP_FAILED) fail("a file with content, got " + path);
  data_ = static_cast<const uint8_t*>(bytes);
}

MappedFile::~MappedFile() { ::munmap(const_cast<uint8_t*>(data_), size_); }

void MappedFile::release(const uint8_t* from, uint64_t bytes) const {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(from) + page - 1) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(from) + bytes) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
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
