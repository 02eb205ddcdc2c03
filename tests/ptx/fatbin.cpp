// Finds the PTX in what nvcc puts into an object file: a header, then an entry for each target.
#include <cstring>
#include <stdexcept>

#include "program.h"

namespace ptx {

std::string ptx_of_fat_binary(const void* wrapper) {
  struct Wrapper {
    uint32_t magic, version;
    const uint8_t* data;
  };
  struct Header {
    uint32_t magic;
    uint16_t version, header_size;
    uint64_t size;
  };
  struct Entry {
    uint16_t kind, version;
    uint32_t header_size;
    uint64_t size;
  };
  const auto* data = static_cast<const Wrapper*>(wrapper)->data;
  Header header;
  std::memcpy(&header, data, sizeof header);
  if (header.magic != 0xba55ed50u) throw std::runtime_error("[ptx] no fat binary");
  const uint8_t* at = data + header.header_size;
  const uint8_t* end = at + header.size;
  while (at < end) {
    Entry entry;
    std::memcpy(&entry, at, sizeof entry);
    const auto* payload = reinterpret_cast<const char*>(at + entry.header_size);
    if (entry.kind == 1) {
      const std::string text(payload, strnlen(payload, entry.size));
      if (text.find(".version") != std::string::npos) return text;
      throw std::runtime_error("[ptx] compressed: compile with --compress-mode=none");
    }
    at += entry.header_size + entry.size;
  }
  return {};
}

}  // namespace ptx
