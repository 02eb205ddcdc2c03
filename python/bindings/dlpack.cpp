#include "dlpack.h"

#include <string_view>

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

// DLPack 1.3's functions of a tensor library, which its tensor type names in an attribute.
struct Exchange {
  uint32_t major, minor;
  Exchange* older;
  void* allocate;
  void* managed_from_object;
  void* object_from_managed;
  // Neither copies nor owns; -1 with a Python error, null where the library has none.
  int (*tensor_from_object)(PyObject* object, Tensor* out);
  int (*current_stream)(int32_t device_type, int32_t device, void** stream);
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

// The functions that the object's own type names; null where it does not. A subclass goes the slow
// way: it may have no memory (a fake tensor) or a `__dlpack__` of its own.
const Exchange* exchange_of(const py::handle& object) {
  static PyObject* const name = PyUnicode_InternFromString("__dlpack_c_exchange_api__");
  PyObject* const attributes = Py_TYPE(object.ptr())->tp_dict;
  PyObject* const capsule = attributes ? PyDict_GetItemWithError(attributes, name) : nullptr;
  if (!capsule || !PyCapsule_IsValid(capsule, "dlpack_exchange_api")) return nullptr;
  const auto* exchange =
      static_cast<Exchange*>(PyCapsule_GetPointer(capsule, "dlpack_exchange_api"));
  while (exchange && exchange->major > 1) exchange = exchange->older;
  return exchange && exchange->major == 1 && exchange->tensor_from_object ? exchange : nullptr;
}

bool wants_gradient(const py::handle& object) {
  const py::object wants = py::getattr(object, "requires_grad", py::none());
  return wants.ptr() == Py_True;
}

// torch negates such views when they are read, and tells nobody who reads the memory.
bool is_negated(const py::handle& object) {
  const py::object is_neg = py::getattr(object, "is_neg", py::none());
  return !is_neg.is_none() && is_neg().ptr() == Py_True;
}

Tensor tensor_by_capsule(const py::handle& object, const std::string& what, py::object& owner) {
  if (!py::hasattr(object, "__dlpack__")) {
    throw py::type_error("[" + what + "] expected a tensor (torch, numpy, ...), got " +
                         std::string(py::str(py::type::of(object))));
  }
  const auto device = object.attr("__dlpack_device__")().cast<std::pair<int, int>>();
  // -1: the caller says which stream to run on, no synchronisation here.
  owner = device.first == 2 ? object.attr("__dlpack__")(py::arg("stream") = -1)
                            : object.attr("__dlpack__")();
  const auto* managed = static_cast<ManagedTensor*>(PyCapsule_GetPointer(owner.ptr(), "dltensor"));
  if (!managed) throw py::error_already_set();
  Tensor tensor = managed->tensor;
  tensor.device = {device.first, device.second};
  return tensor;
}

// Without a capsule where the type offers it, in CPU memory. What else there may be the library
// refuses, or not, in its own words.
Tensor tensor_of(const py::handle& object, const std::string& what, py::object& owner) {
  if (is_negated(object)) fail(what, "values in memory", "a negated view: call resolve_neg()");
  if (wants_gradient(object)) {
    fail(what, "rows without gradients", "a tensor that requires them: call detach()");
  }
  const Exchange* const exchange = exchange_of(object);
  if (!exchange) return tensor_by_capsule(object, what, owner);
  Tensor tensor;
  const bool told = exchange->tensor_from_object(object.ptr(), &tensor) == 0;
  if (!told) PyErr_Clear();
  if (!told || tensor.device.type != 1) return tensor_by_capsule(object, what, owner);
  owner = py::reinterpret_borrow<py::object>(object);
  return tensor;
}

// numpy's arrays of float32 and float16, in a tenth of a capsule's time. False for all that the
// slow way reads or refuses.
bool rows_by_buffer(const py::handle& object, Rows& rows) {
  if (!PyObject_CheckBuffer(object.ptr())) return false;
  rows.owner = py::reinterpret_steal<py::object>(PyMemoryView_FromObject(object.ptr()));
  if (!rows.owner) {
    PyErr_Clear();
    return false;
  }
  const Py_buffer& buffer = *PyMemoryView_GET_BUFFER(rows.owner.ptr());
  const std::string_view format = buffer.format;
  if (format != "f" && format != "e") return false;
  if (buffer.ndim != 1 && buffer.ndim != 2) return false;
  const bool several = buffer.ndim == 2;
  const Py_ssize_t between = several ? buffer.strides[0] : 0;
  if (buffer.strides[several] != buffer.itemsize || between % buffer.itemsize != 0) return false;
  RowsView& view = rows.view;
  view.dtype = format == "f" ? DType::kFloat32 : DType::kFloat16;
  view.data = buffer.buf;
  view.rows = several ? buffer.shape[0] : 1;
  view.cols = buffer.shape[several];
  view.stride = several ? between / buffer.itemsize : view.cols;
  return true;
}

}  // namespace

Rows rows_from(const py::handle& object, const std::string& what) {
  Rows rows;
  if (rows_by_buffer(object, rows)) return rows;
  const Tensor tensor = tensor_of(object, what, rows.owner);
  rows.on_cuda = tensor.device.type == 2;
  rows.device = tensor.device.id;
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
  if (!tensor.data && view.rows * view.cols > 0) fail(what, "rows in memory", "a null pointer");
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

std::shared_ptr<const void> kept_alive(const py::object& owner) {
  return {new py::object(owner), [](const py::object* object) {
            const py::gil_scoped_acquire acquire;
            delete object;
          }};
}

}  // namespace anydraft::bindings
