// The exported form of Tables: a header, one section entry an array, the arrays themselves.
#pragma once

#include <cstdint>
#include <string>

#include "vocab/tables.h"

namespace anydraft::detail {

constexpr char kMagic[8] = {'A', 'D', 'V', 'O', 'C', 'A', 'B', '\n'};
// Goes up whenever the meaning or the order of an array changes.
constexpr uint32_t kFileVersion = 3;

struct FileHeader {
  char magic[8];
  uint32_t byte_order;  // 1 in the writer's order
  uint32_t version;
  uint64_t size;      // of the whole file
  uint64_t checksum;  // of the whole file, this field being 0
  uint32_t sections;
  uint32_t reserved[7];
};

struct FileSection {
  uint64_t offset;  // from the beginning of the file
  uint64_t count;
  uint32_t element_size;
  uint32_t reserved;
};

// Of a whole file of at least a header, its own field taken as 0.
uint64_t checksum_of(const char* file, size_t size);

// As read_vocabulary and write_vocabulary.
OwnedTables read_tables(const std::string& path);
void write_tables(const Tables& tables, const std::string& path);

}  // namespace anydraft::detail
