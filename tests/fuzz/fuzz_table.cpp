// A table file whose arrays are anything at all: refused, or safe to encode and decode with. The
// checksum is set right first, so that what lies behind it is reached.
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "anydraft/error.h"
#include "anydraft/vocabulary_file.h"
#include "vocab/checksum.h"
#include "vocab/table_file.h"

namespace {

using anydraft::detail::FileHeader;

std::string sealed(const uint8_t* data, size_t size) {
  std::string file(reinterpret_cast<const char*>(data), size);
  if (size < sizeof(FileHeader)) return file;
  FileHeader header;
  std::memcpy(&header, file.data(), sizeof(header));
  header.size = size;
  header.checksum = 0;
  std::memcpy(file.data(), &header, sizeof(header));
  header.checksum = anydraft::detail::checksum_of(file.data(), size);
  std::memcpy(file.data(), &header, sizeof(header));
  return file;
}

void use(const anydraft::Vocabulary& vocabulary) {
  static const char* const kTexts[] = {
      "", "Hello, world 1234\n\t  </s> don't", "\xE2\x96\x81 \xC3\xA9 e\xCC\x81 \xEF\xAC\x81",
      "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7 \xE4\xBD\xA0\xE5\xA5\xBD", "\xFF\x00\x80"};
  for (const char* text : kTexts) {
    try {
      vocabulary.decode(vocabulary.encode(text));
      vocabulary.decode_as_owner(vocabulary.encode_as_owner(text));
    } catch (const anydraft::Error&) {  // cannot be spelled in it
    }
  }
  for (int32_t id = -1; id <= vocabulary.size(); ++id) vocabulary.token_bytes(id);
  anydraft::VocabularyMap(vocabulary, vocabulary);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string path =
      std::filesystem::temp_directory_path() / ("anydraft-fuzz-" + std::to_string(::getpid()));
  std::ofstream(path, std::ios::binary | std::ios::trunc) << sealed(data, size);
  try {
    use(anydraft::read_vocabulary(path));
  } catch (const anydraft::Error&) {
  }
  std::remove(path.c_str());
  return 0;
}
