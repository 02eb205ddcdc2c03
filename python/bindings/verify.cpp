#include "anydraft/verify.h"

#include <pybind11/stl.h>

#include "anydraft/draft.h"
#include "anydraft/error.h"
#include "bind.h"
#include "dlpack.h"
#include "verdicts.h"

namespace anydraft::bindings {
namespace {

using Ints = std::vector<int32_t>;
using Doubles = std::vector<double>;

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorKind::kValue, "[verify] expected " + what);
}

void expect_size(const char* name, size_t expected, size_t got) {
  if (expected == got) return;
  fail(std::string(name) + " of length " + std::to_string(expected) + ", got " +
       std::to_string(got));
}

template <class T>
const T* or_null(const std::optional<std::vector<T>>& values, const char* name, size_t expected) {
  if (!values) return nullptr;
  expect_size(name, expected, values->size());
  return values->data();
}

void check_offsets(const Ints& offsets) {
  if (offsets.empty()) fail("offsets, got none");
  for (size_t i = 1; i < offsets.size(); ++i) {
    if (offsets[i] < offsets[i - 1]) {
      fail("offsets that do not decrease, got " + std::to_string(offsets[i]) + " after " +
           std::to_string(offsets[i - 1]));
    }
  }
}

Verdicts call_verify(const Ints& tokens, const Ints& parents, const Ints& offsets,
                     const std::optional<Ints>& paths, py::object target_logits,
                     const Ints& proposal_kinds, const Ints& proposal_rows,
                     const std::optional<std::tuple<Ints, Ints, Doubles>>& sparse,
                     py::object draft_logits, const std::vector<SamplingParams>& sampling,
                     const std::vector<SamplingParams>& draft_sampling, const std::string& verifier,
                     const std::vector<uint64_t>& seeds,
                     const std::optional<std::vector<uint32_t>>& requests,
                     const std::optional<std::vector<uint32_t>>& positions,
                     const std::optional<Doubles>& accept, const std::optional<Doubles>& pick,
                     const std::optional<Doubles>& select, bool report_status, bool acceptance,
                     uint64_t stream) {
  check_offsets(offsets);
  const size_t nodes = offsets.back(), count = offsets.size() - 1;
  expect_size("tokens", nodes, tokens.size());
  expect_size("parents", nodes, parents.size());
  expect_size("distribution kinds", nodes, proposal_kinds.size());
  expect_size("distribution rows", nodes, proposal_rows.size());
  VerifyRequest request;
  request.params_per_request = sampling.size() != 1 || draft_sampling.size() != 1;
  if (request.params_per_request) {
    expect_size("sampling", count, sampling.size());
    expect_size("draft_sampling", count, draft_sampling.size());
  }
  expect_size("seeds", count, seeds.size());
  std::vector<ProposalKind> kinds;
  for (int32_t kind : proposal_kinds) kinds.push_back(static_cast<ProposalKind>(kind));
  const Rows target = rows_from(target_logits, "target_logits");
  Rows draft;
  if (!draft_logits.is_none()) draft = rows_from(draft_logits, "draft_logits");
  if (!draft_logits.is_none() &&
      (draft.on_cuda != target.on_cuda || (draft.on_cuda && draft.device != target.device))) {
    fail("target_logits and draft_logits on one device");
  }
  request.trees = {tokens.data(), parents.data(), offsets.data(), static_cast<int64_t>(count),
                   or_null(paths, "paths", nodes)};
  request.target_logits = target.view;
  request.proposals.kinds = kinds.data();
  request.proposals.rows = proposal_rows.data();
  if (sparse) {
    const auto& [sparse_offsets, ids, masses] = *sparse;
    expect_size("sparse offsets", nodes + 1, sparse_offsets.size());
    check_offsets(sparse_offsets);
    expect_size("sparse ids", sparse_offsets.back(), ids.size());
    expect_size("sparse masses", ids.size(), masses.size());
    request.proposals.sparse_offsets = sparse_offsets.data();
    request.proposals.ids = ids.data();
    request.proposals.masses = masses.data();
  }
  request.draft_logits = draft.view;
  request.sampling = sampling.data();
  request.draft_sampling = draft_sampling.data();
  request.verifier = verifier_by_name(verifier);
  request.uniforms.seeds = seeds.data();
  request.uniforms.requests = or_null(requests, "requests", count);
  request.uniforms.positions = or_null(positions, "positions", count);
  request.uniforms.accept = or_null(accept, "accept uniforms", nodes);
  request.uniforms.pick = or_null(pick, "pick uniforms", nodes);
  request.uniforms.select = or_null(select, "select uniforms", nodes);
  request.report_status = report_status;
  request.want_acceptance = acceptance;
  return verdicts_of(request, target.on_cuda, stream);
}

}  // namespace

void bind_verify(py::module_& module) {
  module.def("verify", call_verify, py::arg("tokens"), py::arg("parents"), py::arg("offsets"),
             py::arg("paths"), py::arg("target_logits"), py::arg("proposal_kinds"),
             py::arg("proposal_rows"), py::arg("sparse"), py::arg("draft_logits"),
             py::arg("sampling"), py::arg("draft_sampling"), py::arg("verifier"), py::arg("seeds"),
             py::arg("requests"), py::arg("positions"), py::arg("accept"), py::arg("pick"),
             py::arg("select"), py::arg("report_status"), py::arg("acceptance"), py::arg("stream"));
  using Text = std::string;
  module.def("verifiers", [] {
    std::vector<std::tuple<Text, Text, Text, Text, Text, Text>> all;
    for (const VerifierInfo& info : verifiers()) {
      all.emplace_back(info.name, info.proposals, info.shapes, info.devices, info.cost,
                       info.source);
    }
    return all;
  });
  module.def(
      "draw_children",
      [](int32_t kind, py::object logits, const SamplingParams& params, int32_t width,
         uint32_t request, uint32_t position, uint32_t node) {
        const Rows rows = cpu_rows_from(logits, "draft_logits");
        if (width < 0) fail("width >= 0, got " + std::to_string(width));
        Ints out(width);
        const RandomKey key{params.seed.value_or(0), request, position, node, Purpose::kDraft, 0};
        out.resize(draw_children(static_cast<ProposalKind>(kind), rows.view, 0, params, width, key,
                                 out.data()));
        return out;
      },
      py::arg("kind"), py::arg("logits"), py::arg("params"), py::arg("width"), py::arg("request"),
      py::arg("position"), py::arg("node"));
}

}  // namespace anydraft::bindings
