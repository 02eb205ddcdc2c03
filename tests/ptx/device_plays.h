// Does with nvcc's kernels what block_plays.h and block_samples.h do with host blocks. Each array
// has an allocation of its own and is copied there and back. The interpreter checks every access.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "anydraft/detail/projection.h"
#include "cuda/batch.cuh"
#include "cuda/sample.cuh"
#include "runtime.h"

namespace anydraft::detail {  // cuda/kernels.h, which a host compiler cannot read
void launch_distributions(const Batch& batch, void* stream);
void launch_verifier(const Batch& batch, void* stream);
void launch_acceptance(const Batch& batch, void* stream);
}  // namespace anydraft::detail

namespace anydraft::testing {

// Host arrays and their copies on the device.
class Carried {
 public:
  ~Carried() {
    for (const Array& array : arrays_) cudaFree(array.device);
  }
  template <class T>
  void in(const T*& array, size_t count) {
    if (array) array = static_cast<const T*>(place(array, count * sizeof(T), true, nullptr));
  }
  // An array that the device writes; back() copies it to the host.
  template <class T>
  void out(T*& array, size_t count) {
    if (array) array = static_cast<T*>(place(array, count * sizeof(T), false, array));
  }
  void rows(RowsView& view) {
    const size_t bytes = view.rows * view.stride * size_of(view.dtype);
    if (view.data) view.data = place(view.data, bytes, true, nullptr);
  }
  void uniforms(UniformsView& uniforms, size_t requests, size_t nodes) {
    in(uniforms.seeds, requests), in(uniforms.requests, requests), in(uniforms.positions, requests);
    in(uniforms.accept, nodes), in(uniforms.pick, nodes), in(uniforms.select, nodes);
  }
  void back() {
    for (const Array& array : arrays_) {
      if (array.home) cudaMemcpy(array.home, array.device, array.bytes, cudaMemcpyDeviceToHost);
    }
  }

 private:
  struct Array {
    void *device, *home;
    size_t bytes;
  };
  void* place(const void* from, size_t bytes, bool copy, void* home) {
    void* to = nullptr;
    EXPECT_EQ(cudaMalloc(&to, bytes > 0 ? bytes : 1), cudaSuccess);
    if (copy) cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice);
    arrays_.push_back({to, home, bytes});
    return to;
  }
  std::vector<Array> arrays_;
};

inline size_t size_of_map(const int32_t* map, int64_t vocab, bool with_token_trie) {
  const detail::MapView view(map, vocab);
  const int32_t* end = view.ids + view.starts[map[0]];
  if (with_token_trie) {
    const detail::DraftTokenTrieView token_trie(map, vocab);
    end = token_trie.tokens + token_trie.starts[token_trie.count];
  }
  return end - map;
}

// Launches go to the caller's stream; nothing waits for the device or allocates.
template <class Call>
void on_stream(Call call) {
  auto* stream = reinterpret_cast<void*>(uintptr_t{0x51});
  const size_t first = ptx::launched().size(), waits = ptx::waits_of_host();
  const size_t found = ptx::findings().count(), live = ptx::live_allocations();
  call(stream);
  EXPECT_EQ(ptx::live_allocations(), live);
  EXPECT_EQ(ptx::waits_of_host(), waits);
  for (size_t i = first; i < ptx::launched().size(); ++i) {
    EXPECT_EQ(ptx::launched()[i].stream, stream);
  }
  EXPECT_EQ(ptx::findings().count(), found);
}

inline void play_batch(const detail::Batch& on_host, int threads) {
  detail::Batch batch = on_host;
  CudaVerifyRequest& all = batch.request;
  const size_t nodes = all.nodes, requests = all.trees.requests, drafts = all.draft_logits.rows;
  all.splits = threads <= 32 ? 1 : threads <= 64 ? 4 : 8;
  Carried carried;
  carried.in(all.proposals.ids,
             all.proposals.sparse_offsets ? all.proposals.sparse_offsets[nodes] : 0);
  carried.in(all.proposals.masses,
             all.proposals.sparse_offsets ? all.proposals.sparse_offsets[nodes] : 0);
  carried.in(all.proposals.sparse_offsets, nodes + 1);
  carried.in(all.proposals.kinds, nodes), carried.in(all.proposals.rows, nodes);
  carried.in(all.trees.tokens, nodes), carried.in(all.trees.parents, nodes);
  carried.in(all.trees.offsets, requests + 1), carried.in(all.trees.paths, nodes);
  if (all.draft_map) {
    carried.in(all.draft_map,
               size_of_map(all.draft_map, all.target_logits.cols, all.draft_weighed));
  }
  carried.rows(all.target_logits), carried.rows(all.draft_logits);
  carried.in(all.sampling, requests), carried.in(all.draft_sampling, requests);
  carried.uniforms(all.uniforms, requests, nodes);
  carried.in(all.draft_distributions, drafts), carried.in(all.draft_weighed, drafts);
  carried.in(all.draft_places, drafts);
  CudaVerifyResult& result = batch.result;
  carried.out(result.accepted, nodes), carried.out(result.acceptance, nodes);
  carried.out(result.counts, requests), carried.out(result.next_tokens, requests);
  carried.out(result.status, requests), carried.out(result.where, requests);
  carried.out(result.degenerate, requests);
  detail::for_each_array(batch.workspace, on_host.request,
                         [&](auto*& array, int64_t count) { carried.out(array, count); });
  on_stream([&](void* stream) {
    if (batch.workspace.parts) detail::launch_distributions(batch, stream);
    detail::launch_verifier(batch, stream);
    if (result.acceptance) detail::launch_acceptance(batch, stream);
  });
  carried.back();
}

inline void play_samples(const detail::SampleBatch& on_host, int64_t rows) {
  CudaSampleRequest all = on_host.request;
  CudaSampleResult result = on_host.result;
  Carried carried;
  if (all.map) carried.in(all.map, size_of_map(all.map, all.vocab, all.weighed));
  carried.rows(all.logits), carried.in(all.params, rows),
      carried.uniforms(all.uniforms, rows, rows);
  carried.in(all.nodes, rows), carried.in(all.weighed, rows), carried.in(all.places, rows);
  carried.out(result.tokens, rows), carried.out(result.status, rows);
  carried.out(result.distributions, rows), carried.out(result.drafter_ids, rows);
  carried.out(result.places, rows);
  auto* workspace = reinterpret_cast<char*>(on_host.parts);
  const size_t bytes = sample_cuda_workspace(all);
  carried.out(workspace, bytes);
  on_stream([&](void* stream) { sample_cuda_async(all, result, workspace, bytes, stream); });
  carried.back();
}

}  // namespace anydraft::testing
