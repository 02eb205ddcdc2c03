#include <pybind11/stl.h>

#include <chrono>

#include "anydraft/vocabulary.h"
#include "bind.h"
#include "bridge/slrs.h"
#include "dlpack.h"
#include "rows/kernels.h"
#include "session/branching_chooser.h"

namespace anydraft::bindings {

void bind_session_testing(py::module_& module) {
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
}

}  // namespace anydraft::bindings
