#include <pybind11/stl.h>

#include "anydraft/error.h"
#include "anydraft/testing/enumerate.h"
#include "bind.h"
#include "dlpack.h"
#include "rows/kernels.h"

namespace anydraft::bindings {

void bind_testing(py::module_& parent) {
  py::module_ module = parent.def_submodule("testing");
  module.def(
      "enumerate_chain",
      [](py::object target, py::object draft, int32_t length, bool one_hot,
         const SamplingParams& sampling, const SamplingParams& draft_sampling,
         const std::string& verifier) {
        const Rows target_rows = cpu_rows_from(target, "target_logits");
        const Rows draft_rows = cpu_rows_from(draft, "draft_logits");
        py::list outcomes;
        for (const testing::Outcome& outcome :
             testing::enumerate_chain({target_rows.view, draft_rows.view, length,
                                       one_hot ? LawKind::kOneHot : LawKind::kRow, sampling,
                                       draft_sampling, verifier_by_name(verifier)})) {
          outcomes.append(py::make_tuple(outcome.weight, outcome.emitted));
        }
        return outcomes;
      },
      py::arg("target_logits"), py::arg("draft_logits"), py::arg("draft_length"),
      py::arg("one_hot"), py::arg("sampling"), py::arg("draft_sampling"), py::arg("verifier"));
  module.def("law_masses", [](py::object logits, const SamplingParams& params) {
    const Rows rows = cpu_rows_from(logits, "logits");
    std::vector<std::vector<double>> all(rows.view.rows);
    for (int64_t i = 0; i < rows.view.rows; ++i) {
      const detail::Law law = make_law(rows.view, i, params);
      for (int64_t token = 0; token < law.size; ++token) all[i].push_back(mass(law, token));
    }
    return all;
  });
  module.def("philox4x32_10", [](std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
    PhiloxBlock block{{counter[0], counter[1], counter[2], counter[3]}};
    block = philox4x32_10(block, key[0], key[1]);
    return std::vector<uint32_t>(block.word, block.word + 4);
  });
  module.def("instruction_sets", [] {
    std::vector<std::string> names;
    for (const detail::RowKernels* set : detail::runnable_kernels()) names.push_back(set->name);
    return names;
  });
  // All calls of the engine use it from now on; "": the best again.
  module.def("use_instruction_set", [](const std::string& name) {
    for (const detail::RowKernels* set : detail::runnable_kernels()) {
      if (name == set->name) return detail::use_kernels(set);
    }
    detail::use_kernels(nullptr);
  });
  // Of row 0: (scale, lower, exponent, inverse_total, chunk totals, each of them summed anew).
  module.def("law_of", [](py::object logits, const SamplingParams& params) {
    const Rows rows = cpu_rows_from(logits, "logits");
    std::vector<double> totals, anew;
    const detail::Law law = make_law(rows.view, 0, params, &totals);
    for (int64_t begin = 0; begin < law.size && law.one_hot < 0; begin += detail::kChunk) {
      const int64_t end = std::min<int64_t>(begin + detail::kChunk, law.size);
      anew.push_back(detail::kernels().sum(law.row, law.dtype, begin, end, law.scale, law.lower,
                                           law.exponent));
    }
    return py::make_tuple(law.scale, law.lower, law.exponent, law.inverse_total, totals, anew);
  });
}

}  // namespace anydraft::bindings
