// What the CPU and the CUDA engine ask of a VerifyRequest, and how they report a walk.
#pragma once

#include "anydraft/detail/walks.h"
#include "anydraft/verify.h"

namespace anydraft::detail {

void check(const VerifyRequest& request);  // throws Error(kValue), naming request and node
// Throws Error(kNonFiniteLogits) that names the row, unless bad_row is -1. Rows of draft_logits
// count on from the number of target rows.
void check_rows(const VerifyRequest& request, int64_t bad_row);
void append_path(const VerifyRequest& request, int64_t index, const Walked& walked,
                 VerifyResult& result);

}  // namespace anydraft::detail
