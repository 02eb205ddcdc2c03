// A folder whose config.json and header of tensors are any bytes: refused, or safe to read whole.
// The input: config.json, a byte 0, the header; its length is set right, so that it is reached.
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "anydraft/error.h"
#include "decoder/config.h"
#include "decoder/safetensors.h"

namespace {

void write(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

struct Folder {
  std::string path =
      std::filesystem::temp_directory_path() / ("anydraft-tensors-" + std::to_string(::getpid()));
  Folder() { std::filesystem::create_directory(path); }
  ~Folder() { std::filesystem::remove_all(path); }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace anydraft::detail;
  static const Folder folder;
  const std::string all(reinterpret_cast<const char*>(data), size);
  const size_t split = std::min(all.find('\0'), size);
  const std::string header = split < size ? all.substr(split + 1) : "";
  write(folder.path + "/config.json", all.substr(0, split));
  const uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  write(folder.path + "/model.safetensors", file + header + std::string(4096, 'x'));
  uint64_t seen = 0;
  try {
    const SafetensorsFolder files(folder.path);
    for (const auto& [name, tensor] : files.tensors()) {
      for (uint64_t i = 0; i < tensor.bytes; ++i) seen += tensor.data[i];
    }
  } catch (const anydraft::Error&) {
  }
  try {
    config_of(read_json(folder.path + "/config.json"), nullptr);
  } catch (const anydraft::Error&) {
  }
  static volatile uint64_t sink;
  sink = seen;
  return 0;
}
