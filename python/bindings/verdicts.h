// A verification as Python is told of it: the fields of VerifyResult in verification.py.
#pragma once

#include <pybind11/stl.h>

#include "anydraft/verify.h"

namespace anydraft::bindings {

using Verdicts = std::tuple<std::vector<int32_t>, std::vector<int32_t>, std::vector<int64_t>,
                            std::vector<std::optional<std::string>>, std::vector<bool>,
                            std::optional<std::vector<double>>>;

inline Verdicts verdicts_of(const VerifyRequest& request, bool on_cuda = false,
                            uint64_t stream = 0) {
  VerifyResult result;
  {
    pybind11::gil_scoped_release release;
    result = on_cuda ? verify_cuda(request, reinterpret_cast<void*>(stream)) : verify(request);
  }
  Verdicts told{result.accepted, result.offsets, result.next_tokens, {}, {}, {}};
  for (const std::string& text : result.status) {
    std::get<3>(told).push_back(text.empty() ? std::nullopt : std::optional(text));
  }
  std::get<4>(told).assign(result.degenerate.begin(), result.degenerate.end());
  if (request.want_acceptance) std::get<5>(told) = result.acceptance;
  return told;
}

}  // namespace anydraft::bindings
