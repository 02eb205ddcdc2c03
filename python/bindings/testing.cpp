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
  // Chunk 0 of a row by each instruction set this machine runs: (name, largest, sum, masses).
  module.def("chunk_by_instruction_set", [](py::object logits, const SamplingParams& params) {
    const Rows rows = cpu_rows_from(logits, "logits");
    const detail::Law law = make_law(rows.view, 0, params);
    const int64_t end = std::min<int64_t>(law.size, detail::kChunk);
    py::list all;
    for (const detail::RowKernels* set :
         {&detail::portable_kernels(), &detail::avx2_kernels(), &detail::avx512_kernels()}) {
      std::vector<double> masses(end);
      set->masses(law, 0, end, masses.data());
      all.append(py::make_tuple(
          set->name, set->max(law.row, law.dtype, 0, end, nullptr).largest,
          set->sum(law.row, law.dtype, 0, end, law.scale, law.lower, law.exponent), masses));
      if (set == &detail::kernels()) break;
    }
    return all;
  });
}

}  // namespace anydraft::bindings
