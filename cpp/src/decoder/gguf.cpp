#include "decoder/gguf.h"

#include <cstring>

#include "anydraft/error.h"

namespace anydraft::detail {
namespace {

// Bytes of a number of each GgufType; 0: of no fixed size.
constexpr uint8_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

// Goes through the bytes of a header; each read checks what is left.
class Cursor {
 public:
  explicit Cursor(const MappedFile& file) : file_(file) {}

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
  uint64_t at_ = 0;
};

GgufType read_type(Cursor& in) {
  const auto type = in.number<uint32_t>("a type");
  if (type >= sizeof kBytes) in.fail("a type of metadata below 13, got " + std::to_string(type));
  return static_cast<GgufType>(type);
}

GgufValue read_value(Cursor& in) {
  GgufValue value;
  value.type = read_type(in);
  value.is_array = value.type == GgufType::kArray;
  if (value.is_array) value.type = read_type(in);
  if (value.type == GgufType::kArray) in.fail("no array of arrays");
  const uint8_t each = kBytes[static_cast<int>(value.type)];
  const uint64_t count = value.is_array ? in.count(each ? each : 8, "an array's length") : 1;
  value.data = in.take(each * count, "a value");
  for (uint64_t i = 0; each == 0 && i < count; ++i) in.text("a text");
  return value;
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

std::optional<int64_t> GgufValue::whole() const {
  const size_t bytes = kBytes[static_cast<int>(type)];
  if (is_array || bytes == 0 || type == GgufType::kFloat32 || type == GgufType::kFloat64 ||
      type == GgufType::kBool) {
    return std::nullopt;
  }
  int64_t number = 0;
  std::memcpy(&number, data, bytes);  // little-endian: the low bytes
  const bool is_signed = type == GgufType::kInt8 || type == GgufType::kInt16 ||
                         type == GgufType::kInt32 || type == GgufType::kInt64;
  if (is_signed && bytes < 8 && number >> (8 * bytes - 1) != 0) number -= int64_t{1} << 8 * bytes;
  if (!is_signed && number < 0) return std::nullopt;
  return number;
}

std::optional<double> GgufValue::number() const {
  if (!is_array && type == GgufType::kFloat32) return read_as<float>(data);
  if (!is_array && type == GgufType::kFloat64) return read_as<double>(data);
  const std::optional<int64_t> number = whole();
  return number ? std::optional<double>(static_cast<double>(*number)) : std::nullopt;
}

std::optional<bool> GgufValue::truth() const {
  return !is_array && type == GgufType::kBool ? std::optional(*data != 0) : std::nullopt;
}

std::optional<std::string_view> GgufValue::text() const {
  if (is_array || type != GgufType::kText) return std::nullopt;
  const auto length = static_cast<size_t>(read_as<uint64_t>(data));
  return std::string_view(reinterpret_cast<const char*>(data + 8), length);
}

GgufFile::GgufFile(const std::string& path) : file_(std::make_shared<MappedFile>(path)) {
  Cursor in(*file_);
  if (in.number<uint32_t>("GGUF's mark") != 0x46554747) in.fail("GGUF's mark");
  const auto version = in.number<uint32_t>("a version");
  if (version != 2 && version != 3) {
    in.fail("version 2 or 3, little-endian, got " + std::to_string(version));
  }
  const uint64_t tensors = in.count(24, "a number of tensors");
  const uint64_t entries = in.count(13, "a number of entries");
  for (uint64_t i = 0; i < entries; ++i) {
    std::string key(in.text("a key"));
    const GgufValue value = read_value(in);
    if (!metadata_.emplace(std::move(key), value).second) in.fail("keys that differ");
  }
  int64_t alignment = 32;
  if (const GgufValue* said = find("general.alignment")) {
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

const GgufValue* GgufFile::find(const std::string& key) const {
  const auto at = metadata_.find(key);
  return at == metadata_.end() ? nullptr : &at->second;
}

}  // namespace anydraft::detail
