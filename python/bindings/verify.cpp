#include "anydraft/verify.h"

#include <pybind11/stl.h>

#include "anydraft/error.h"
#include "bind.h"
#include "dlpack.h"

namespace anydraft::bindings {
namespace {

using Ints = std::vector<int32_t>;

void expect_size(const char* name, size_t expected, size_t got) {
  if (expected == got) return;
  throw Error(ErrorKind::kValue, std::string("[verify] expected ") + name + " of length " +
                                     std::to_string(expected) + ", got " + std::to_string(got));
}

template <class T>
const T* or_null(const std::optional<std::vector<T>>& values, const char* name, size_t expected) {
  if (!values) return nullptr;
  expect_size(name, expected, values->size());
  return values->data();
}

py::tuple call_verify(const Ints& tokens, const Ints& parents, const Ints& offsets,
                      py::object target_logits, const Ints& law_kinds, const Ints& law_rows,
                      py::object draft_logits, const SamplingParams& sampling,
                      const SamplingParams& draft_sampling, const std::string& verifier,
                      uint64_t seed, const std::optional<std::vector<uint32_t>>& requests,
                      const std::optional<std::vector<uint32_t>>& positions,
                      const std::optional<std::vector<double>>& accept,
                      const std::optional<std::vector<double>>& pick, uint64_t stream) {
  if (offsets.empty()) throw Error(ErrorKind::kValue, "[verify] expected offsets, got none");
  for (size_t i = 1; i < offsets.size(); ++i) {
    if (offsets[i] < offsets[i - 1]) {
      throw Error(ErrorKind::kValue, "[verify] expected offsets that do not decrease, got " +
                                         std::to_string(offsets[i]) + " after " +
                                         std::to_string(offsets[i - 1]));
    }
  }
  const size_t nodes = offsets.back(), count = offsets.size() - 1;
  expect_size("tokens", nodes, tokens.size());
  expect_size("parents", nodes, parents.size());
  expect_size("law kinds", nodes, law_kinds.size());
  expect_size("law rows", nodes, law_rows.size());
  std::vector<LawKind> kinds;
  for (int32_t kind : law_kinds) kinds.push_back(static_cast<LawKind>(kind));
  const Rows target = rows_from(target_logits, "target_logits");
  Rows draft;
  if (!draft_logits.is_none()) draft = rows_from(draft_logits, "draft_logits");
  if (!draft_logits.is_none() &&
      (draft.on_cuda != target.on_cuda || (draft.on_cuda && draft.device != target.device))) {
    throw Error(ErrorKind::kValue,
                "[verify] expected target_logits and draft_logits on one device");
  }
  VerifyRequest request;
  request.trees = {tokens.data(), parents.data(), offsets.data(), static_cast<int64_t>(count)};
  request.target_logits = target.view;
  request.laws = {kinds.data(), law_rows.data()};
  request.draft_logits = draft.view;
  request.sampling = sampling;
  request.draft_sampling = draft_sampling;
  request.verifier = verifier_by_name(verifier);
  request.coins = {seed, or_null(requests, "requests", count),
                   or_null(positions, "positions", count), or_null(accept, "accept coins", nodes),
                   or_null(pick, "pick coins", nodes)};
  VerifyResult result;
  {
    py::gil_scoped_release release;
    result =
        target.on_cuda ? verify_cuda(request, reinterpret_cast<void*>(stream)) : verify(request);
  }
  return py::make_tuple(result.accepted, result.offsets, result.next_tokens);
}

}  // namespace

void bind_verify(py::module_& module) {
  module.def("verify", call_verify);
  module.def("cuda_built", cuda_built);
  module.def("verifiers", [] {
    py::list all;
    for (const VerifierInfo& info : verifiers()) {
      all.append(py::make_tuple(info.name, info.laws, info.source));
    }
    return all;
  });
}

}  // namespace anydraft::bindings
