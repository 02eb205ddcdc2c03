// anydraft._testing: the enumerating backend, a module of its own beside the engine's.
#include <pybind11/stl.h>

#include "../dlpack.h"
#include "anydraft/vocabulary.h"
#include "testing/enumerate.h"
#include "testing/enumerating_source.h"

namespace py = pybind11;
using namespace anydraft;
using bindings::cpu_rows_from;
using bindings::Rows;

PYBIND11_MODULE(_testing, module) {
  // The engine's types are registered there.
  py::module_::import("anydraft._core");
  module.doc() = "The enumerating backend, for `anydraft.testing` and this project's tests.";
  module.def(
      "enumerate",
      [](py::object target, py::object draft, const std::vector<int32_t>& widths, int32_t drawn,
         int32_t stated, int32_t sparse, bool merge, int32_t max_nodes, int32_t depth, int32_t beam,
         const SamplingParams& sampling, const SamplingParams& draft_sampling,
         const std::string& verifier) {
        const Rows target_rows = cpu_rows_from(target, "target_logits");
        const Rows draft_rows = cpu_rows_from(draft, "draft_logits");
        std::vector<std::pair<double, TokenIds>> outcomes;
        for (const testing::Outcome& outcome :
             testing::enumerate({target_rows.view,
                                 draft_rows.view,
                                 {widths, max_nodes, depth, beam},
                                 static_cast<ProposalKind>(drawn),
                                 static_cast<ProposalKind>(stated),
                                 sparse,
                                 merge,
                                 sampling,
                                 draft_sampling,
                                 verifier_by_name(verifier)})) {
          outcomes.emplace_back(outcome.weight,
                                TokenIds(outcome.emitted.begin(), outcome.emitted.end()));
        }
        return outcomes;
      },
      py::arg("target_logits"), py::arg("draft_logits"), py::arg("widths"), py::arg("drawn"),
      py::arg("stated"), py::arg("sparse"), py::arg("merge"), py::arg("max_nodes"),
      py::arg("depth"), py::arg("beam"), py::arg("sampling"), py::arg("draft_sampling"),
      py::arg("verifier"), "Every outcome of one round: its weight, the tokens it emits.");
  using testing::EnumeratingSource;
  py::class_<EnumeratingSource, RandomSource, std::shared_ptr<EnumeratingSource>>(
      module, "Branches",
      "A session's random choices as branches: run the session anew for each `advance`.")
      .def(py::init([](py::object restate, std::optional<uint32_t> only) {
             if (restate.is_none()) return std::make_shared<EnumeratingSource>(nullptr, only);
             return std::make_shared<EnumeratingSource>(
                 [restate](const VerifyRequest& request, std::vector<float>& distributions) {
                   const py::gil_scoped_acquire acquire;
                   const int64_t nodes = request.trees.nodes();
                   const TokenIds tokens(request.trees.tokens, request.trees.tokens + nodes),
                       parents(request.trees.parents, request.trees.parents + nodes),
                       rows(request.proposals.rows, request.proposals.rows + nodes);
                   distributions =
                       restate(tokens, parents, rows, distributions).cast<std::vector<float>>();
                 },
                 only);
           }),
           py::arg("restate") = py::none(), py::arg("only") = py::none())
      .def("restart", &EnumeratingSource::restart)
      .def(
          "use",
          [](EnumeratingSource& branches, uint32_t request, uint32_t position, uint32_t node,
             uint32_t purpose, uint32_t attempt) {
            branches.use({0, request, position, node, static_cast<Purpose>(purpose), attempt});
          },
          py::arg("request"), py::arg("position"), py::arg("node"), py::arg("purpose"),
          py::arg("attempt"))
      .def("advance", &EnumeratingSource::advance)
      .def_property_readonly("weight", &EnumeratingSource::weight);
}
