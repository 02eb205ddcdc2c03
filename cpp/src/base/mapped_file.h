// A file's bytes, mapped: nothing is read before it is used.
#pragma once

#include <cstdint>
#include <string>

namespace anydraft::detail {

// It must not be cut short while it is mapped.
class MappedFile {
 public:
  // Calls `refuse`, which throws, where it cannot be mapped: with errno where it cannot be opened,
  // with 0 where it is empty or no plain file. `whole`: every page is wanted soon.
  MappedFile(const std::string& path, void (*refuse)(const std::string& path, int error),
             bool whole = false);
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

}  // namespace anydraft::detail
