#include <cstring>

#include "anydraft/error.h"
#include "bind.h"

namespace anydraft::bindings {

namespace py = pybind11;

// The exception classes live in anydraft.errors (Python), so that they can inherit from ValueError
// too; a failed import there surfaces as itself.
static void raise(const Error& error) {
  static const char* const kNames[] = {
      "InputError",           "VocabularyError",      "UnsupportedTokenizerError",
      "NonFiniteLogitsError", "CudaUnavailableError", "CudaError"};
  const py::object type =
      py::module_::import("anydraft.errors").attr(kNames[static_cast<int>(error.kind())]);
  // A message may quote bytes that are no text.
  const char* what = error.what();
  const auto message = py::reinterpret_steal<py::object>(
      PyUnicode_DecodeUTF8(what, static_cast<Py_ssize_t>(std::strlen(what)), "replace"));
  PyErr_SetObject(type.ptr(), message.ptr());
}

void bind_errors(py::module_&) {
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
      raise(error);
    }
  });
}

}  // namespace anydraft::bindings
