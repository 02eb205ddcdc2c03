// What the CPU and the CUDA engine ask of a VerifyRequest, and how a verdict is appended to the
// result.
#pragma once

#include "anydraft/detail/verifiers.h"
#include "anydraft/verify.h"

namespace anydraft::detail {

// The arrays as a whole and, without report_status, every request. Throws Error(kValue).
void check(const VerifyRequest& request);
// One request's tree, distributions and parameters. Throws Error(kValue), naming request and node.
void check_request(const VerifyRequest& request, int64_t index);
void append_path(const VerifyRequest& request, int64_t index, const Verdict& verdict,
                 VerifyResult& result);

}  // namespace anydraft::detail
