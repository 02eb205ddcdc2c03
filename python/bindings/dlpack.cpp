#include "dlpack.h"

#include "anydraft/error.h"

namespace anydraft::bindings {
namespace {

struct Device {
  int32_t type;  // 1: CPU, 2: CUDA, 3: CUDA pinned host memory
  int32_t id;
};

struct DataType {
  uint8_t code;  // 2: float, 4: bfloat
  uint8_t bits;
  uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;  // in entries; null: contiguous
  uint64_t byte_offset;
};

struct ManagedTensor {
  Tensor tensor;
  void* manager_context;
  void (*deleter)(ManagedTensor*);
};

[[noreturn]] void fail(const std::string& what, const std::string& expected,
                       const std::string& got) {
  throw Error(ErrorKind::kValue, "[" + what + "] expected " + expected + ", got " + got);
}

DType dtype_of(const DataType& type, const std::string& what) {
  if (type.lanes == 1 && type.code == 2 && type.bits == 32) return DType::kFloat32;
  if (type.lanes == 1 && type.code == 2 && type.bits == 16) return DType::kFloat16;
  if (type.lanes == 1 && type.code == 4 && type.bits == 16) return DType::kBFloat16;
  static const char* const kNames[] = {"int",    "uint",    "float", "handle",
                                       "bfloat", "complex", "bool"};
  const std::string name = type.code < 7 ? kNames[type.code] : "type ";
  fail(what, "float32, bfloat16 or float16", name + std::to_string(type.bits));
}

}  // namespace

Rows rows_from(const py::handle& object, const std::string& what) {
  if (!py::hasattr(object, "__dlpack__")) {
    throw py::type_error("[" + what + "] expected a tensor (torch, numpy, ...), got " +
                         std::string(py::str(py::type::of(object))));
  }
  Rows rows;
  const auto device = object.attr("__dlpack_device__")().cast<std::pair<int, int>>();
  rows.on_cuda = device.first == 2;
  rows.device = device.second;
  // -1: the caller says which stream to run on, no synchronisation here.
  rows.owner = rows.on_cuda ? object.attr("__dlpack__")(py::arg("stream") = -1)
                            : object.attr("__dlpack__")();
  const auto* managed =
      static_cast<ManagedTensor*>(PyCapsule_GetPointer(rows.owner.ptr(), "dltensor"));
  if (!managed) throw py::error_already_set();
  const Tensor& tensor = managed->tensor;
  if (tensor.ndim != 1 && tensor.ndim != 2) {
    fail(what, "shape [rows, vocab]", std::to_string(tensor.ndim) + " dimensions");
  }
  if (tensor.device.type < 1 || tensor.device.type > 3) {
    fail(what, "CPU or CUDA memory", "device type " + std::to_string(tensor.device.type));
  }
  RowsView& view = rows.view;
  view.dtype = dtype_of(tensor.dtype, what);
  view.data = static_cast<const char*>(tensor.data) + tensor.byte_offset;
  view.rows = tensor.ndim == 2 ? tensor.shape[0] : 1;
  view.cols = tensor.shape[tensor.ndim - 1];
  view.stride = view.cols;
  if (tensor.strides) {
    if (view.cols > 1 && tensor.strides[tensor.ndim - 1] != 1) {
      fail(what, "rows contiguous along the vocabulary",
           "stride " + std::to_string(tensor.strides[tensor.ndim - 1]));
    }
    if (tensor.ndim == 2) view.stride = tensor.strides[0];
  }
  return rows;
}

Rows cpu_rows_from(const py::handle& object, const std::string& what) {
  Rows rows = rows_from(object, what);
  if (rows.on_cuda) fail(what, "rows in CPU memory", "CUDA memory");
  return rows;
}

}  // namespace anydraft::bindings
