#include "anydraft/sampling.h"

#include <pybind11/stl.h>

#include <cstdint>

#include "anydraft/cuda.h"
#include "anydraft/error.h"
#include "anydraft/threads.h"
#include "bind.h"
#include "dlpack.h"

namespace anydraft::bindings {
namespace {

std::optional<uint64_t> seed_from(const py::object& given) {
  if (given.is_none()) return std::nullopt;
  const auto whole = py::reinterpret_steal<py::object>(PyNumber_Index(given.ptr()));
  if (!whole) throw py::error_already_set();
  const unsigned long long seed = PyLong_AsUnsignedLongLong(whole.ptr());
  if (PyErr_Occurred()) {
    PyErr_Clear();
    throw Error(ErrorKind::kValue, "[SamplingParams] expected 0 <= seed < 2^64, got " +
                                       py::str(whole).cast<std::string>());
  }
  return seed;
}

}  // namespace

void bind_sampling(py::module_& module) {
  const auto fields = [](const SamplingParams& p) {
    return py::make_tuple(p.temperature, p.top_k, p.top_p, p.min_p, p.seed);
  };
  py::class_<SamplingParams> params(module, "SamplingParams", R"(
Temperature, top-k, top-p, min-p, applied in this order; ties at a boundary are kept.

temperature 0 is greedy (ties to the lowest id); top_k 0, top_p 1 and min_p 0 are off.
Immutable; equal where all fields are; may be pickled.

Raises:
    InputError: a value out of its range; a seed outside [0, 2^64).
)");
  params
      .def(py::init([](double temperature, int32_t top_k, double top_p, double min_p,
                       const py::object& seed) {
             SamplingParams params{temperature, top_k, top_p, min_p, seed_from(seed)};
             params.validate();
             return params;
           }),
           py::arg("temperature") = 1.0, py::arg("top_k") = 0, py::arg("top_p") = 1.0,
           py::arg("min_p") = 0.0, py::arg("seed") = py::none())
      .def_readonly("temperature", &SamplingParams::temperature)
      .def_readonly("top_k", &SamplingParams::top_k)
      .def_readonly("top_p", &SamplingParams::top_p)
      .def_readonly("min_p", &SamplingParams::min_p)
      .def_readonly("seed", &SamplingParams::seed)
      .def_property_readonly("greedy", &SamplingParams::greedy)
      .def("__repr__",
           [](const SamplingParams& p) {
             return py::str("SamplingParams(temperature={}, top_k={}, top_p={}, min_p={}, seed={})")
                 .format(p.temperature, p.top_k, p.top_p, p.min_p, p.seed);
           })
      .def("__eq__",
           [fields](const SamplingParams& p, const py::object& other) -> py::object {
             if (!py::isinstance<SamplingParams>(other)) {
               return py::reinterpret_borrow<py::object>(Py_NotImplemented);
             }
             return py::bool_(fields(p).equal(fields(other.cast<const SamplingParams&>())));
           })
      .def("__hash__", [fields](const SamplingParams& p) { return py::hash(fields(p)); })
      // Pickled and copied by its own constructor, which checks.
      .def("__reduce__", [fields, type = py::handle(params)](const SamplingParams& p) {
        return py::make_tuple(type, fields(p));
      });
  module.def(
      "write_probs",
      [](py::object logits, const SamplingParams& params, py::object out) {
        const Rows rows = cpu_rows_from(logits, "probs"), target = cpu_rows_from(out, "probs");
        py::gil_scoped_release release;
        write_probs(rows.view, params, static_cast<float*>(const_cast<void*>(target.view.data)));
      },
      py::arg("logits"), py::arg("params"), py::arg("out"));
  module.def(
      "sample_rows",
      [](py::object logits, const SamplingParams& params, const std::vector<double>& uniforms,
         uint64_t stream) {
        const Rows rows = rows_from(logits, "sample");
        if (static_cast<int64_t>(uniforms.size()) != rows.view.rows) {
          throw Error(ErrorKind::kValue, "[sample] expected one key a row (" +
                                             std::to_string(rows.view.rows) + "), got " +
                                             std::to_string(uniforms.size()));
        }
        py::gil_scoped_release release;
        std::vector<int64_t> tokens(rows.view.rows);
        if (rows.on_cuda) {
          sample_cuda(rows.view, params, uniforms.data(), tokens.data(),
                      reinterpret_cast<void*>(stream));
        } else {
          sample_rows(rows.view, params, uniforms.data(), tokens.data());
        }
        return tokens;
      },
      py::arg("logits"), py::arg("params"), py::arg("uniforms"), py::arg("stream") = 0);
  module.attr("MOST_THREADS") = kMostThreads;
  module.def("set_threads", set_threads, py::arg("count"), R"(
Let one call of the engine use `count` threads, the calling one among them.

0: one for each CPU that this process may run on (the default). Passes of native models, calls
over several rows or requests, and rows of 65,536 entries and more use several; results do not
depend on the count. The threads sleep when idle.

Raises:
    InputError: a negative count, or one above 1024.

>>> import anydraft
>>> anydraft.set_threads(2)
)");
  module.def("threads", threads, R"(
How many threads one call may use.

>>> import anydraft
>>> anydraft.threads() >= 1
True
)");
  module.def(
      "uniform",
      [](uint64_t seed, uint32_t request, uint32_t position, uint32_t node, uint32_t purpose,
         uint32_t attempt) {
        return uniform({seed, request, position, node, static_cast<Purpose>(purpose), attempt});
      },
      py::arg("seed"), py::arg("request") = 0, py::arg("position") = 0, py::arg("node") = 0,
      py::arg("purpose") = 0, py::arg("attempt") = 0);
}

}  // namespace anydraft::bindings
