// A GGUF file of any bytes: refused, or safe to read whole and to make a decoder's shape of.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "anydraft/error.h"
#include "decoder/config.h"
#include "decoder/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace anydraft::detail;
  static const std::string path =
      std::filesystem::temp_directory_path() / ("anydraft-gguf-" + std::to_string(::getpid()));
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  uint64_t seen = 0;
  try {
    const GgufFile file(path);
    for (const auto& [key, value] : file.metadata().members()) {
      seen += value.number().value_or(0) > 1;
      for (const char byte : value.text().value_or("")) seen += static_cast<uint8_t>(byte);
    }
    for (const auto& [name, tensor] : file.tensors()) {
      for (uint64_t i = 0; i < tensor.bytes; ++i) seen += tensor.data[i];
    }
    config_of(file);
  } catch (const anydraft::Error&) {
  }
  std::remove(path.c_str());
  static volatile uint64_t sink;
  sink = seen;
  return 0;
}
