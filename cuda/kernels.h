// The launches of a verification. Each has its own source file: they compile in parallel, and the
// registers and stack that verifiers with many sweeps need are not paid for by the others.
#pragma once

#include "batch.cuh"
#include "device_block.cuh"
#include "launch.h"

namespace anydraft::detail {

void launch_distributions(const Batch& batch, void* stream);  // makes all distributions
// The verifiers of one kernel. A kernel that no source file below defines does not link.
template <CudaKernel kernel>
void launch_verifier(const Batch& batch, void* stream);
template <>
void launch_verifier<CudaKernel::kReading>(const Batch& batch, void* stream);  // reading.cu
template <>
void launch_verifier<CudaKernel::kDeferring>(const Batch& batch, void* stream);  // deferring.cu
template <>
void launch_verifier<CudaKernel::kSweeping>(const Batch& batch, void* stream);  // sweeping.cu
void launch_verifier(const Batch& batch, void* stream);    // that of the batch's verifier
void launch_acceptance(const Batch& batch, void* stream);  // after the verifier; not of multipath

struct DrawBatch;  // draw.cuh
void launch_draws(const DrawBatch& batch, int64_t groups, void* stream);

// What is told of a request that failed.
Error error_of(CudaStatus status, int64_t request, int64_t where);

template <class Kernel>
void launch_requests(Kernel kernel, const Batch& batch, void* stream) {
  const CudaVerifyRequest& all = batch.request;
  launch_blocks(kernel, batch.workspace.parts ? After::kOwn : After::kOthers, all.trees.requests,
                all.splits, stream, "verify_kernel", batch);
}

}  // namespace anydraft::detail
