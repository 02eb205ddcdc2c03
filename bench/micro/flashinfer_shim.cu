// C functions around four of FlashInfer's sampling kernels, for benches on machines that cannot
// install its package: bench/carry_peers.py compiles this beside the package's own headers.
#include <cuda_runtime.h>

#include <cstdint>
#include <flashinfer/sampling.cuh>

namespace sampling = flashinfer::sampling;

namespace {
cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }
}  // namespace

extern "C" {

int anydraft_softmax(float* logits, float* out, void* remaining, int64_t workspace_bytes, int rows,
                     int vocab, float temperature, void* stream) {
  return sampling::OnlineSoftmax<float>(logits, out, rows, vocab, nullptr, temperature, remaining,
                                        workspace_bytes, false, stream_of(stream));
}

// valid [rows] is written.
int anydraft_sample(float* probs, int* out, bool* valid, int rows, int vocab, void* stream) {
  return sampling::SamplingFromProb<float, int>(probs, out, valid, nullptr, rows, vocab, true,
                                                nullptr, 1, nullptr, 0, stream_of(stream));
}

int anydraft_top_k_top_p(float* probs, int* out, bool* valid, int rows, int vocab, int top_k,
                         float top_p, void* stream) {
  return sampling::TopKTopPSamplingFromProb<float, int>(probs, nullptr, nullptr, out, valid,
                                                        nullptr, rows, top_k, top_p, vocab, true,
                                                        nullptr, 1, nullptr, 0, stream_of(stream));
}

int anydraft_chain(float* draft_probs, int* ids, float* target_probs, int* out, int* accepted,
                   int* emitted, int requests, int drafts, int vocab, void* stream) {
  return sampling::ChainSpeculativeSampling<float, int>(
      draft_probs, ids, target_probs, out, accepted, emitted, requests, drafts, vocab, true,
      nullptr, 1, nullptr, 0, stream_of(stream));
}

}  // extern "C"
