// Tensors of any library as RowsView, through Python's buffers or DLPack's C structs, declared here
// in our own words (https://dmlc.github.io/dlpack): no libtorch.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <string>

#include "anydraft/rows_view.h"

namespace anydraft::bindings {

namespace py = pybind11;

// Keeps the tensor's memory alive while the view is in use.
struct Rows {
  RowsView view;
  bool on_cuda = false;
  int device = 0;
  py::object owner;
};

// A tensor [rows, cols], or [cols] for one row; float32, bfloat16 or float16; contiguous along the
// last axis. Throws Error(kValue) that names `what`; TypeError for what is no tensor.
Rows rows_from(const py::handle& tensor, const std::string& what);
Rows cpu_rows_from(const py::handle& tensor, const std::string& what);  // CPU memory only

// A tensor for as long as its rows are read; let go of on any thread.
std::shared_ptr<const void> kept_alive(const py::object& owner);

}  // namespace anydraft::bindings
