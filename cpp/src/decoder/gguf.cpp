#include "decoder/gguf.h"

#include <cmath>
#include <cstring>

#include "anydraft/error.h"

namespace anydraft::detail {
namespace {

// Bytes of a number of each GgufType; 0: of no fixed size.
constexpr uint8_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

template <class T>
T read_as(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

double number_at(GgufType type, const uint8_t* at) {
  switch (type) {
    case GgufType::kUint8:
      return *at;
    case GgufType::kInt8:
      return static_cast<int8_t>(*at);
    case GgufType::kUint16:
      return read_as<uint16_t>(at);
    case GgufType::kInt16:
      return read_as<int16_t>(at);
    case GgufType::kUint32:
      return read_as<uint32_t>(at);
    case GgufType::kInt32:
      return read_as<int32_t>(at);
    case GgufType::kFloat32:
      return read_as<float>(at);
    case GgufType::kBool:
      return *at != 0;
    case GgufType::kUint64:
      return static_cast<double>(read_as<uint64_t>(at));
    case GgufType::kInt64:
      return static_cast<double>(read_as<int64_t>(at));
    case GgufType::kFloat64:
      return read_as<double>(at);
    default:
      return NAN;
  }
}

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
  if (value.type == GgufType::kArray) {
    value.is_array = true;
    value.type = read_type(in);
    if (value.type == GgufType::kArray) in.fail("no array of arrays");
    const uint8_t each = kBytes[static_cast<int>(value.type)];
    value.count = in.count(each ? each : 8, "an array's length");
  }
  const uint64_t begin = in.at();
  if (const uint8_t each = kBytes[static_cast<int>(value.type)]) {
    value.data = in.take(each * value.count, "a value");
  } else {
    for (uint64_t i = 0; i < value.count; ++i) {
      const auto length = static_cast<uint64_t>(in.text("a text").size());
      if (i == 0) value.data = in.take(0, "a text") - length - 8;
    }
  }
  value.bytes = in.at() - begin;
  return value;
}

Tensor read_tensor(Cursor& in, const std::string& name, uint64_t* offset) {
  Tensor tensor;
  const auto dimensions = in.number<uint32_t>("a tensor's dimensions");
  if (dimensions < 1 || dimensions > 4) in.fail("1 to 4 dimensions of tensor " + name);
  tensor.shape.resize(dimensions);
  for (auto length = tensor.shape.rbegin(); length != tensor.shape.rend(); ++length) {
    *length = in.number<int64_t>("a tensor's length");
  }
  const auto type = in.number<uint32_t>("a tensor's type");
  tensor.type = element_type(type);
  if (!tensor.type) {
    in.fail("a known type of tensor " + name + ", got number " + std::to_string(type));
  }
  if (!measure(tensor.shape, *tensor.type, &tensor.bytes)) {
    in.fail("whole blocks of " + std::string(tensor.type->name) + " in tensor " + name);
  }
  *offset = in.number<uint64_t>("a tensor's offset");
  return tensor;
}

}  // namespace

std::optional<int64_t> GgufValue::whole() const {
  if (is_array || type == GgufType::kFloat32 || type == GgufType::kFloat64 ||
      type == GgufType::kBool || type == GgufType::kText) {
    return std::nullopt;
  }
  if (type == GgufType::kInt64 || type == GgufType::kUint64) {
    const auto number = read_as<int64_t>(data);
    if (type == GgufType::kUint64 && number < 0) return std::nullopt;
    return number;
  }
  return static_cast<int64_t>(number_at(type, data));
}

std::optional<double> GgufValue::number() const {
  if (is_array || type == GgufType::kBool || type == GgufType::kText) return std::nullopt;
  return number_at(type, data);
}

std::optional<bool> GgufValue::truth() const {
  if (is_array || type != GgufType::kBool) return std::nullopt;
  return *data != 0;
}

std::optional<std::string_view> GgufValue::text() const {
  if (is_array || type != GgufType::kText) return std::nullopt;
  return text_at(data);
}

double GgufValue::item(uint64_t i) const {
  return number_at(type, data + i * kBytes[static_cast<int>(type)]);
}

std::string_view GgufValue::text_at(const uint8_t* at) {
  return {reinterpret_cast<const char*>(at + 8), static_cast<size_t>(read_as<uint64_t>(at))};
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
  std::vector<std::pair<std::string, uint64_t>> offsets;
  std::vector<Tensor> read;
  for (uint64_t i = 0; i < tensors; ++i) {
    offsets.emplace_back(in.text("a tensor's name"), 0);
    read.push_back(read_tensor(in, offsets.back().first, &offsets.back().second));
  }
  const auto unit = static_cast<uint64_t>(alignment);
  in.take(tensors > 0 ? (unit - in.at() % unit) % unit : 0, "the start of the tensors");
  const uint64_t begin = in.at(), size = in.left();
  for (uint64_t i = 0; i < tensors; ++i) {
    const auto& [name, offset] = offsets[i];
    if (offset % unit != 0 || offset > size || read[i].bytes > size - offset) {
      in.fail("tensor " + name + " aligned and within the file");
    }
    read[i].data = file_->data() + begin + offset;
    read[i].file = file_.get();
    tensors_.add(name, std::move(read[i]));
  }
  tensors_.check_overlaps();
}

const GgufValue* GgufFile::find(const std::string& key) const {
  const auto at = metadata_.find(key);
  return at == metadata_.end() ? nullptr : &at->second;
}

}  // namespace anydraft::detail
