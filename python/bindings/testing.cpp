#include <pybind11/stl.h>

#include <chrono>

#include "anydraft/error.h"
#include "anydraft/testing/enumerate.h"
#include "anydraft/vocabulary.h"
#include "bind.h"
#include "bridge/slrs.h"
#include "dlpack.h"
#include "rows/kernels.h"
#include "session/branching_chooser.h"

namespace anydraft::bindings {

void bind_testing(py::module_& parent) {
  py::module_ module = parent.def_submodule("testing");
  module.def(
      "enumerate",
      [](py::object target, py::object draft, const std::vector<int32_t>& widths, int32_t drawn,
         int32_t stated, int32_t sparse, bool merge, int32_t max_nodes, int32_t depth, int32_t beam,
         const SamplingParams& sampling, const SamplingParams& draft_sampling,
         const std::string& verifier) {
        const Rows target_rows = cpu_rows_from(target, "target_logits");
        const Rows draft_rows = cpu_rows_from(draft, "draft_logits");
        py::list outcomes;
        for (const testing::Outcome& outcome : testing::enumerate({target_rows.view,
                                                                   draft_rows.view,
                                                                   {widths, max_nodes, depth, beam},
                                                                   static_cast<LawKind>(drawn),
                                                                   static_cast<LawKind>(stated),
                                                                   sparse,
                                                                   merge,
                                                                   sampling,
                                                                   draft_sampling,
                                                                   verifier_by_name(verifier)})) {
          outcomes.append(py::make_tuple(outcome.weight, outcome.emitted));
        }
        return outcomes;
      },
      py::arg("target_logits"), py::arg("draft_logits"), py::arg("widths"), py::arg("drawn"),
      py::arg("stated"), py::arg("sparse"), py::arg("merge"), py::arg("max_nodes"),
      py::arg("depth"), py::arg("beam"), py::arg("sampling"), py::arg("draft_sampling"),
      py::arg("verifier"));
  using testing::BranchingChooser;
  py::class_<BranchingChooser, Chooser, std::shared_ptr<BranchingChooser>>(module, "Branches")
      .def(py::init([](py::object restate) {
             if (restate.is_none()) return std::make_shared<BranchingChooser>();
             return std::make_shared<BranchingChooser>(
                 [restate](const VerifyRequest& request, std::vector<float>& laws) {
                   const int64_t nodes = request.trees.nodes();
                   const TokenIds tokens(request.trees.tokens, request.trees.tokens + nodes),
                       parents(request.trees.parents, request.trees.parents + nodes),
                       rows(request.laws.rows, request.laws.rows + nodes);
                   laws = restate(tokens, parents, rows, laws).cast<std::vector<float>>();
                 });
           }),
           py::arg("restate") = py::none())
      .def("restart", &BranchingChooser::restart)
      .def("advance", &BranchingChooser::advance)
      .def_property_readonly("weight", &BranchingChooser::weight);
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
  // Seconds of psi at the root, and of a plain scatter-add of the same row: its masses, each added
  // to the first token its drafter token spells.
  module.def("time_psi", [](const Spellings& spellings, py::object logits,
                            const SamplingParams& params, int64_t width, int repeats) {
    const Rows rows = cpu_rows_from(logits, "logits");
    const detail::Law law = make_law(rows.view, 0, params);
    TokenIds first(law.size, static_cast<int32_t>(width));
    for (int32_t i = 0; i < spellings.size(); ++i) {
      if (spellings.drafter_id(i) < law.size) first[spellings.drafter_id(i)] = spellings.first(i);
    }
    const auto time = [repeats](const auto& work) {
      const auto started = std::chrono::steady_clock::now();
      for (int i = 0; i < repeats; ++i) work();
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count() /
             repeats;
    };
    double check = 0;
    const double plain = time([&] {
      std::vector<double> sums(width + 1, 0.0);
      double masses[detail::kChunk];
      for (int64_t begin = 0; begin < law.size; begin += detail::kChunk) {
        const int64_t end = std::min<int64_t>(begin + detail::kChunk, law.size);
        detail::kernels().masses(law, begin, end, masses);
        for (int64_t i = begin; i < end; ++i) sums[first[i]] += masses[i - begin];
      }
      check += sums[0];
    });
    const double psi = time([&] { check += spellings.psi(law, spellings.root(), width)[0]; });
    return py::make_tuple(psi, plain, check);
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
          set->name, set->max(law.row, law.dtype, 0, end).largest,
          set->sum(law.row, law.dtype, 0, end, law.scale, law.lower, law.exponent), masses));
      if (set == &detail::kernels()) break;
    }
    return all;
  });
}

}  // namespace anydraft::bindings
