#include "decoder/safetensors.h"

#include <cstring>
#include <filesystem>
#include <set>

namespace anydraft::detail {
namespace {

const std::vector<Json>& items_of(const Json& entry, const char* key, const std::string& name) {
  const Json* value = entry.find(key);
  if (!value || !value->is(Json::Kind::kArray)) fail(std::string(key) + " of tensor " + name);
  return value->items();
}

Tensor read_tensor(const std::string& name, const Json& entry, const MappedFile& file,
                   uint64_t begin) {
  Tensor tensor;
  const Json* said = entry.find("dtype");
  const std::string dtype(said ? said->text().value_or("no text") : "none");
  tensor.type = element_type(dtype);
  if (!tensor.type) {
    fail("a dtype out of F32, F16, BF16, F64, I8, I16, I32, I64 for tensor " + name + ", got " +
         dtype);
  }
  for (const Json& length : items_of(entry, "shape", name)) {
    tensor.shape.push_back(length.whole().value_or(-1));
  }
  const std::vector<Json>& offsets = items_of(entry, "data_offsets", name);
  const int64_t from = offsets.size() == 2 ? offsets[0].whole().value_or(-1) : -1;
  const int64_t to = offsets.size() == 2 ? offsets[1].whole().value_or(-1) : -1;
  if (from < 0 || to < from || static_cast<uint64_t>(to) > file.size() - begin) {
    fail("tensor " + name + " within " + file.path());
  }
  const bool sized = measure(tensor.shape, *tensor.type, &tensor.bytes);
  if (!sized || tensor.bytes != static_cast<uint64_t>(to - from)) {
    fail("as many bytes as its shape has for tensor " + name);
  }
  tensor.data = file.data() + begin + from;
  tensor.file = &file;
  return tensor;
}

}  // namespace

Json read_json(const std::string& path) {
  const MappedFile file(path, refuse_file);
  return Json::parse({reinterpret_cast<const char*>(file.data()), file.size()}, "[" + path + "]");
}

void SafetensorsFolder::read(const std::string& path) {
  files_.push_back(std::make_unique<MappedFile>(path, refuse_file));
  const MappedFile& file = *files_.back();
  uint64_t length = 0;
  if (file.size() >= 8) std::memcpy(&length, file.data(), 8);
  if (length == 0 || length > file.size() - 8) fail("a header within " + path);
  const char* text = reinterpret_cast<const char*>(file.data() + 8);
  const Json header = Json::parse({text, static_cast<size_t>(length)}, "[" + path + "]");
  if (!header.is(Json::Kind::kObject)) fail("a header of tensors in " + path);
  for (const auto& [name, entry] : header.members()) {
    if (name == "__metadata__") continue;
    add_tensor(tensors_, name, read_tensor(name, entry, file, 8 + length));
  }
}

SafetensorsFolder::SafetensorsFolder(const std::string& folder) {
  const std::filesystem::path base(folder);
  const std::filesystem::path index = base / "model.safetensors.index.json";
  std::error_code unknown;
  if (!std::filesystem::exists(index, unknown)) {
    read((base / "model.safetensors").string());
  } else {
    const Json json = read_json(index.string());
    const Json* map = json.find("weight_map");
    if (!map || !map->is(Json::Kind::kObject)) fail("weight_map in " + index.string());
    std::set<std::string> names;
    for (const auto& [tensor, file] : map->members()) {
      const auto name = file.text();
      if (!name || std::filesystem::path(*name).has_parent_path()) {
        fail("names of files of the same folder in " + index.string());
      }
      names.emplace(*name);
    }
    for (const std::string& name : names) read((base / name).string());
    for (const auto& [tensor, file] : map->members()) {
      if (!find_tensor(tensors_, tensor)) {
        fail("tensor " + tensor + " in " + std::string(*file.text()));
      }
    }
  }
  check_overlaps(tensors_);
}

}  // namespace anydraft::detail
