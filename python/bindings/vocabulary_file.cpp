#include "anydraft/vocabulary_file.h"

#include <memory>

#include "bind.h"

namespace anydraft::bindings {

namespace py = pybind11;

void bind_vocabulary_file(py::module_& module) {
  const py::call_guard<py::gil_scoped_release> unlocked;
  module.def(
      "read_vocabulary",
      [](const std::string& path) { return std::make_shared<Vocabulary>(read_vocabulary(path)); },
      py::arg("path"), unlocked);
  module.def("write_vocabulary", &write_vocabulary, py::arg("vocabulary"), py::arg("path"),
             unlocked);
}

}  // namespace anydraft::bindings
