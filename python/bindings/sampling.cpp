#include "anydraft/sampling.h"

#include <pybind11/stl.h>

#include "anydraft/cuda.h"
#include "anydraft/error.h"
#include "anydraft/threads.h"
#include "bind.h"
#include "dlpack.h"

namespace anydraft::bindings {

void bind_sampling(py::module_& module) {
  py::class_<SamplingParams>(module, "SamplingParams")
      .def(py::init([](double temperature, int32_t top_k, double top_p, double min_p,
                       std::optional<uint64_t> seed) {
             SamplingParams params{temperature, top_k, top_p, min_p, seed};
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
      .def("__repr__", [](const SamplingParams& p) {
        return py::str("SamplingParams(temperature={}, top_k={}, top_p={}, min_p={}, seed={})")
            .format(p.temperature, p.top_k, p.top_p, p.min_p, p.seed);
      });
  module.def("write_probs", [](py::object logits, const SamplingParams& params, py::object out) {
    const Rows rows = cpu_rows_from(logits, "probs"), target = cpu_rows_from(out, "probs");
    py::gil_scoped_release release;
    write_probs(rows.view, params, static_cast<float*>(const_cast<void*>(target.view.data)));
  });
  module.def(
      "sample_rows",
      [](py::object logits, const SamplingParams& params, const std::vector<double>& coins,
         uint64_t stream) {
        const Rows rows = rows_from(logits, "sample");
        if (static_cast<int64_t>(coins.size()) != rows.view.rows) {
          throw Error(ErrorKind::kValue, "[sample] expected one key a row (" +
                                             std::to_string(rows.view.rows) + "), got " +
                                             std::to_string(coins.size()));
        }
        py::gil_scoped_release release;
        std::vector<int64_t> tokens(rows.view.rows);
        if (rows.on_cuda) {
          sample_cuda(rows.view, params, coins.data(), tokens.data(),
                      reinterpret_cast<void*>(stream));
        } else {
          sample_rows(rows.view, params, coins.data(), tokens.data());
        }
        return tokens;
      },
      py::arg("logits"), py::arg("params"), py::arg("coins"), py::arg("stream") = 0);
  module.def("set_threads", set_threads, py::arg("count"));
  module.def("threads", threads);
  module.def(
      "coin",
      [](uint64_t seed, uint32_t request, uint32_t position, uint32_t node, uint32_t purpose,
         uint32_t attempt) {
        return coin({seed, request, position, node, static_cast<Purpose>(purpose), attempt});
      },
      py::arg("seed"), py::arg("request") = 0, py::arg("position") = 0, py::arg("node") = 0,
      py::arg("purpose") = 0, py::arg("attempt") = 0);
}

}  // namespace anydraft::bindings
