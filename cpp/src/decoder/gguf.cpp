#include "decoder/gguf.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "anydraft/error.h"

namespace anydraft::detail {
namespace {

// Goes through the bytes of a header; each read checks what is left.
class Cursor {
 public:
  explicit Cursor(const MappedFile& file, uint64_t at = 0) : file_(file), at_(at) {}

  [[noreturn]] void fail(const std::string& expected) const {
    throw Error(ErrorKind::kValue, "[GgufFile] expected " + expected + " at byte " +
                                       std::to_string(at_) + " of " + file_.path());
  }
  uint64_t at() const { return at_; }
  uint64_t left() const { return file_.size() - at_; }
  const uint8_t* take(uint64_t bytes, const char* what) {
    if (bytes > left()) fail(std::string(what) + " within the file");
    const uint8_t* from = file_.data() + at_;
    at_ += bytes;
    return from;
  }
  template <class T>
  T number(const char* what) {
    return read_as<T>(take(sizeof(T), what));
  }
  std::string_view text(const char* what) {
    const auto length = number<uint64_t>(what);
    return {reinterpret_cast<const char*>(take(length, what)), static_cast<size_t>(length)};
  }
  // A number of things of at least `bytes` bytes each.
  uint64_t count(uint64_t bytes, const char* what) {
    const auto claimed = number<uint64_t>(what);
    if (claimed > left() / bytes) fail(std::string(what) + " that fits the file");
    return claimed;
  }

 private:
  const MappedFile& file_;
  uint64_t at_;
};

template <class T>
double read_number(Cursor& in) {
  return static_cast<double>(in.number<T>("a value"));
}

// Of metadata, by the number that a file gives it.
struct ValueType {
  uint8_t bytes;  // 0: of no fixed size
  double (*read)(Cursor&);
};
constexpr ValueType kTypes[] = {{1, read_number<uint8_t>},
                                {1, read_number<int8_t>},
                                {2, read_number<uint16_t>},
                                {2, read_number<int16_t>},
                                {4, read_number<uint32_t>},
                                {4, read_number<int32_t>},
                                {4, read_number<float>},
                                {1, read_number<uint8_t>},
                                {0, nullptr},
                                {0, nullptr},
                                {8, read_number<uint64_t>},
                                {8, read_number<int64_t>},
                                {8, read_number<double>}};
constexpr uint32_t kBool = 7, kText = 8, kArray = 9;

uint32_t read_type(Cursor& in) {
  const auto type = in.number<uint32_t>("a type");
  if (type >= std::size(kTypes)) {
    in.fail("a type of metadata below 13, got " + std::to_string(type));
  }
  return type;
}

Json read_one(Cursor& in, uint32_t type) {
  if (type == kText) return Json(std::string(in.text("a text")));
  const double number = kTypes[type].read(in);
  return type == kBool ? Json(number != 0) : Json(number);
}

// A list with an item for each layer is kept; a tokeniser's would take a hundred bytes an item.
// `room`: how many items of the file's lists may be kept yet.
Json read_array(Cursor& in, uint64_t& room) {
  constexpr uint64_t kMostKept = 1024;
  const uint32_t type = read_type(in);
  if (type == kArray) in.fail("no array of arrays");
  const uint8_t each = kTypes[type].bytes;
  const uint64_t count = in.count(each ? each : 8, "an array's length");
  std::vector<Json> items;
  if (count <= std::min(kMostKept, room)) {
    room -= count;
    for (uint64_t i = 0; i < count; ++i) items.push_back(read_one(in, type));
  } else if (each > 0) {
    in.take(each * count, "a value");
  } else {
    for (uint64_t i = 0; i < count; ++i) in.text("a text");
  }
  return Json(std::move(items));
}

Json read_value(Cursor& in, uint64_t& room) {
  const uint32_t type = read_type(in);
  return type == kArray ? read_array(in, room) : read_one(in, type);
}

struct Entry {
  std::string name;
  Tensor tensor;
  uint64_t offset = 0;
};

Entry read_entry(Cursor& in) {
  Entry entry{std::string(in.text("a tensor's name")), {}};
  auto& [name, tensor, offset] = entry;
  const auto dimensions = in.number<uint32_t>("a tensor's dimensions");
  if (dimensions < 1 || dimensions > 4) in.fail("1 to 4 dimensions of tensor " + name);
  tensor.shape.resize(dimensions);
  for (auto length = tensor.shape.rbegin(); length != tensor.shape.rend(); ++length) {
    *length = in.number<int64_t>("a tensor's length");
  }
  const auto type = in.number<uint32_t>("a tensor's type");
  tensor.type = element_type(static_cast<GgmlType>(type));
  if (!tensor.type) {
    in.fail("a known type of tensor " + name + ", got number " + std::to_string(type));
  }
  if (!measure(tensor.shape, *tensor.type, &tensor.bytes)) {
    in.fail("whole blocks of " + std::string(tensor.type->name) + " in tensor " + name);
  }
  offset = in.number<uint64_t>("a tensor's offset");
  return entry;
}

}  // namespace

GgufFile::GgufFile(const std::string& path)
    : file_(std::make_shared<MappedFile>(path, refuse_file)) {
  Cursor in(*file_);
  if (in.number<uint32_t>("GGUF's mark") != 0x46554747) in.fail("GGUF's mark");
  const auto version = in.number<uint32_t>("a version");
  if (version != 2 && version != 3) {
    in.fail("version 2 or 3, little-endian, got " + std::to_string(version));
  }
  const uint64_t tensors = in.count(24, "a number of tensors");
  const uint64_t entries = in.count(13, "a number of entries");
  Json::Members members;
  uint64_t room = 1 << 16;
  for (uint64_t i = 0; i < entries; ++i) {
    std::string key(in.text("a key"));
    if (key == "tokenizer.ggml.tokens") tokens_at_ = in.at();
    members.emplace_back(std::move(key), read_value(in, room));
  }
  std::optional<Json> metadata = Json::object(std::move(members));
  if (!metadata) in.fail("keys that differ");
  metadata_ = std::move(*metadata);
  int64_t alignment = 32;
  if (const Json* said = metadata_.find("general.alignment")) {
    alignment = said->whole().value_or(0);
    if (alignment < 1 || alignment > 65536 || (alignment & (alignment - 1)) != 0) {
      in.fail("general.alignment as a power of two up to 65536");
    }
  }
  std::vector<Entry> all;
  for (uint64_t i = 0; i < tensors; ++i) all.push_back(read_entry(in));
  const auto unit = static_cast<uint64_t>(alignment);
  in.take(tensors > 0 ? (unit - in.at() % unit) % unit : 0, "the start of the tensors");
  const uint64_t begin = in.at(), size = in.left();
  for (auto& [name, tensor, offset] : all) {
    if (offset % unit != 0 || offset > size || tensor.bytes > size - offset) {
      in.fail("tensor " + name + " aligned and within the file");
    }
    tensor.data = file_->data() + begin + offset;
    tensor.file = file_.get();
    add_tensor(tensors_, std::move(name), std::move(tensor));
  }
  check_overlaps(tensors_);
}

std::vector<int32_t> GgufFile::tokens_with(const std::vector<std::string_view>& texts) const {
  std::vector<int32_t> ids;
  if (tokens_at_ == 0) return ids;
  Cursor in(*file_, tokens_at_);
  if (read_type(in) != kArray || read_type(in) != kText) return ids;
  const uint64_t count = std::min<uint64_t>(in.count(8, "an array's length"), INT32_MAX);
  for (uint64_t id = 0; id < count; ++id) {
    const std::string_view text = in.text("a text");
    if (std::find(texts.begin(), texts.end(), text) == texts.end()) continue;
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

}  // namespace anydraft::detail
