// What the CPU and the CUDA engine ask of a VerifyRequest, and how they report a walk.
#pragma once

#include "anydraft/detail/walks.h"
#include "anydraft/verify.h"

namespace anydraft::detail {

void check(const VerifyRequest& request);  // throws Error(kValue), naming request and node
void append_path(const VerifyRequest& request, int64_t index, const Walked& walked,
                 VerifyResult& result);

}  // namespace anydraft::detail
