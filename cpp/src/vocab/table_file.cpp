#include "vocab/table_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <type_traits>

#include "anydraft/error.h"
#include "anydraft/vocabulary_file.h"
#include "base/mapped_file.h"
#include "vocab/checksum.h"

namespace anydraft {
namespace detail {

uint64_t checksum_of(const char* file, size_t size) {
  FileHeader header;
  std::memcpy(&header, file, sizeof(header));
  header.checksum = 0;
  char start[sizeof(header)];
  std::memcpy(start, &header, sizeof(header));
  return checksum(start, sizeof(start)) ^ checksum(file + sizeof(header), size - sizeof(header));
}

namespace {

constexpr size_t kAlignment = 64;
static_assert(sizeof(FileHeader) == kAlignment && sizeof(FileSection) == 24);

[[noreturn]] void refuse(const std::string& path, const std::string& expected) {
  throw Error(ErrorKind::kVocabulary, "[read_vocabulary] expected " + expected + ", got " + path);
}

[[noreturn]] void system_failure(const char* function, const std::string& path, int error) {
  throw Error(ErrorKind::kValue, std::string("[") + function + "] expected a file that can be " +
                                     "used, got " + path + ": " + std::strerror(error));
}

size_t aligned(size_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

// ---- Writing

template <typename T>
void append(std::string& file, size_t section, const Array<T>& array) {
  static_assert(std::is_trivially_copyable_v<T> && kAlignment % alignof(T) == 0);
  file.resize(aligned(file.size()));
  const FileSection entry{file.size(), array.size, sizeof(T), 0};
  std::memcpy(&file[sizeof(FileHeader) + section * sizeof(entry)], &entry, sizeof(entry));
  file.append(reinterpret_cast<const char*>(array.data), array.size * sizeof(T));
}

std::string file_of(const Tables& tables) {
  uint32_t sections = 0;
  each_array(tables, [&](const char*, const auto&) { ++sections; });
  std::string file(sizeof(FileHeader) + sections * sizeof(FileSection), '\0');
  size_t section = 0;
  each_array(tables, [&](const char*, const auto& array) { append(file, section++, array); });
  FileHeader header{};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.byte_order = 1;
  header.version = kFileVersion;
  header.size = file.size();
  header.sections = sections;
  std::memcpy(file.data(), &header, sizeof(header));
  header.checksum = checksum_of(file.data(), file.size());
  std::memcpy(file.data(), &header, sizeof(header));
  return file;
}

// 0, or the system's error.
int write_all(int descriptor, const std::string& content) {
  for (size_t at = 0; at < content.size();) {
    const ssize_t count = ::write(descriptor, content.data() + at, content.size() - at);
    if (count < 0 && errno != EINTR) return errno;
    if (count > 0) at += static_cast<size_t>(count);
  }
  return ::fsync(descriptor) == 0 ? 0 : errno;
}

// ---- Reading

[[noreturn]] void refuse_file(const std::string& path, int error) {
  if (error != 0) system_failure("read_vocabulary", path, error);
  refuse(path, "an exported vocabulary");
}

// Everything that can be known without looking into the arrays.
void check_header(const MappedFile& file, const std::string& path, uint32_t sections) {
  FileHeader header;
  if (file.size() < sizeof(header)) refuse(path, "an exported vocabulary");
  std::memcpy(&header, file.data(), sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) {
    refuse(path, "an exported vocabulary");
  }
  if (header.byte_order != 1) refuse(path, "a vocabulary exported in this machine's byte order");
  if (header.version > kFileVersion) {
    refuse(path, "a vocabulary of format " + std::to_string(kFileVersion) + " or older, not " +
                     std::to_string(header.version) + " of a newer anydraft");
  }
  if (header.version < kFileVersion) {
    refuse(path, "a vocabulary of format " + std::to_string(kFileVersion) + ", not the older " +
                     std::to_string(header.version) + " (export it again)");
  }
  if (header.size != file.size()) {
    refuse(path, "all " + std::to_string(header.size) + " bytes of the vocabulary, not " +
                     std::to_string(file.size()) + " (cut off or grown)");
  }
  const char* const bytes = reinterpret_cast<const char*>(file.data());
  if (header.checksum != checksum_of(bytes, file.size())) {
    refuse(path, "an undamaged vocabulary (its checksum differs)");
  }
  const size_t arrays = sizeof(header) + sections * sizeof(FileSection);
  if (header.sections != sections || arrays > file.size()) {
    refuse(path, std::to_string(sections) + " arrays in the vocabulary");
  }
}

template <typename T>
void view(const MappedFile& file, const std::string& path, size_t section, const char* name,
          Array<T>& array) {
  FileSection entry;
  std::memcpy(&entry, file.data() + sizeof(FileHeader) + section * sizeof(entry), sizeof(entry));
  if (entry.element_size != sizeof(T) || entry.offset % kAlignment != 0 ||
      entry.offset > file.size() || entry.count > (file.size() - entry.offset) / sizeof(T)) {
    refuse(path, std::string("array ") + name + " inside the vocabulary");
  }
  array.data = reinterpret_cast<const T*>(file.data() + entry.offset);
  array.size = entry.count;
}

}  // namespace

OwnedTables read_tables(const std::string& path) {
  // Every page is wanted for the checksum.
  const auto file = std::make_shared<const MappedFile>(path, refuse_file, true);
  Tables tables;
  uint32_t sections = 0;
  each_array(tables, [&](const char*, const auto&) { ++sections; });
  check_header(*file, path, sections);
  size_t section = 0;
  each_array(tables,
             [&](const char* name, auto& array) { view(*file, path, section++, name, array); });
  check_tables(tables);
  return {tables, file};
}

void write_tables(const Tables& tables, const std::string& path) {
  static std::atomic<uint32_t> count{0};
  const std::string content = file_of(tables);
  const std::string scratch =
      path + ".writing-" + std::to_string(::getpid()) + "-" + std::to_string(count++);
  const int descriptor = ::open(scratch.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) system_failure("write_vocabulary", scratch, errno);
  int error = write_all(descriptor, content);
  if (::close(descriptor) != 0 && error == 0) error = errno;
  if (error == 0 && ::rename(scratch.c_str(), path.c_str()) != 0) error = errno;
  if (error != 0) {
    ::unlink(scratch.c_str());
    system_failure("write_vocabulary", path, error);
  }
}

}  // namespace detail

Vocabulary read_vocabulary(const std::string& path) {
  return Vocabulary(detail::read_tables(path));
}

void write_vocabulary(const Vocabulary& vocabulary, const std::string& path) {
  if (vocabulary.tables().config.empty()) {
    throw Error(ErrorKind::kVocabulary,
                "[write_vocabulary] expected a vocabulary with a native encoder, got one whose "
                "encoder is a function");
  }
  detail::write_tables(vocabulary.tables(), path);
}

}  // namespace anydraft
