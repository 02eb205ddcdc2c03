#include "decoder/model_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "anydraft/error.h"

namespace anydraft::detail {
namespace {

[[noreturn]] void fail(const std::string& expected) {
  throw Error(ErrorKind::kValue, "[Decoder] expected " + expected);
}

constexpr ElementType kTypes[] = {
    {kTypeF32, "F32", 1, 4},  {kTypeF16, "F16", 1, 2},   {2, "Q4_0", 32, 18},
    {3, "Q4_1", 32, 20},      {6, "Q5_0", 32, 22},       {7, "Q5_1", 32, 24},
    {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 36},       {10, "Q2_K", 256, 84},
    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},    {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},    {16, "IQ2_XXS", 256, 66},
    {17, "IQ2_XS", 256, 74},  {18, "IQ3_XXS", 256, 98},  {19, "IQ1_S", 256, 50},
    {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},   {22, "IQ2_S", 256, 82},
    {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},          {25, "I16", 1, 2},
    {26, "I32", 1, 4},        {27, "I64", 1, 8},         {28, "F64", 1, 8},
    {29, "IQ1_M", 256, 56},   {kTypeBF16, "BF16", 1, 2}, {34, "TQ1_0", 256, 54},
    {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},
};

}  // namespace

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

const ElementType* element_type(int64_t id) {
  for (const ElementType& type : kTypes) {
    if (type.id == id) return &type;
  }
  return nullptr;
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

void Tensors::add(std::string name, Tensor tensor) {
  const auto [at, is_new] = tensors_.emplace(std::move(name), std::move(tensor));
  if (!is_new) fail("tensors of different names, got two of " + at->first);
}

void Tensors::check_overlaps() const {
  std::vector<const std::pair<const std::string, Tensor>*> sorted;
  for (const auto& entry : tensors_) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(),
            [](auto* a, auto* b) { return a->second.data < b->second.data; });
  for (size_t i = 1; i < sorted.size(); ++i) {
    const Tensor& before = sorted[i - 1]->second;
    if (before.data + before.bytes > sorted[i]->second.data) {
      fail("tensors that share no bytes, got " + sorted[i - 1]->first + " and " + sorted[i]->first);
    }
  }
}

const Tensor* Tensors::find(const std::string& name) const {
  const auto at = tensors_.find(name);
  return at == tensors_.end() ? nullptr : &at->second;
}

}  // namespace anydraft::detail
