// What the CPU and the CUDA engine ask of a VerifyRequest, and how they report a walk.
#pragma once

#include "anydraft/detail/walks.h"
#include "anydraft/verify.h"

namespace anydraft::detail {

// The arrays as a whole and, without report_status, every request. Throws Error(kValue).
void check(const VerifyRequest& request);
// One request's tree, laws and parameters. Throws Error(kValue), naming request and node.
void check_request(const VerifyRequest& request, int64_t index);
// Throws Error(kNonFiniteLogits) that names the row, unless bad_row is -1. Rows of draft_logits
// count on from the number of target rows.
void check_rows(const VerifyRequest& request, int64_t bad_row);
void append_path(const VerifyRequest& request, int64_t index, const Walked& walked,
                 VerifyResult& result);

}  // namespace anydraft::detail
