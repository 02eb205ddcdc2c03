// Batches at the size of real vocabularies, beside the CPU engine. Their sizes make a launch choose
// each of its kernels in turn, with all verifiers. Then small vocabularies on a lattice of
// uniforms.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "anydraft/cuda.h"
#include "runtime.h"
#include "tests/cpp/block_case.h"

namespace anydraft {
namespace {

using testing::Case;

class DeviceRows {
 public:
  explicit DeviceRows(const RowsView& from) : view_(from) {
    const size_t bytes = from.rows * from.stride * size_of(from.dtype);
    void* to = nullptr;
    EXPECT_EQ(cudaMalloc(&to, bytes), cudaSuccess);
    cudaMemcpy(to, from.data, bytes, cudaMemcpyHostToDevice);
    view_.data = to;
  }
  ~DeviceRows() { cudaFree(const_cast<void*>(view_.data)); }
  const RowsView& view() const { return view_; }

 private:
  RowsView view_;
};

void expect_same(VerifyRequest request) {
  const size_t found = ptx::findings().count();
  request.report_status = true;
  VerifyRequest on_device = request;
  const DeviceRows target(request.target_logits), draft(request.draft_logits);
  on_device.target_logits = target.view();
  on_device.draft_logits = draft.view();
  const VerifyResult cpu = verify(request), gpu = verify_cuda(on_device, nullptr);
  EXPECT_EQ(gpu.accepted, cpu.accepted);
  EXPECT_EQ(gpu.offsets, cpu.offsets);
  EXPECT_EQ(gpu.next_tokens, cpu.next_tokens);
  EXPECT_EQ(gpu.degenerate, cpu.degenerate);
  for (size_t i = 0; i < cpu.status.size(); ++i) {
    EXPECT_EQ(gpu.status[i].empty(), cpu.status[i].empty()) << gpu.status[i] << cpu.status[i];
  }
  EXPECT_EQ(ptx::findings().count(), found);
}

bool was_launched(size_t from, const char* kernel) {
  for (size_t i = from; i < ptx::launched().size(); ++i) {
    if (ptx::launched()[i].kernel.find(kernel) != std::string::npos) return true;
  }
  return false;
}

constexpr int64_t kVocab = 128256;

TEST(Large, FewRowsAreReadByABlockAChunk) {
  for (const VerifierInfo& info : verifiers()) {
    Case rows(info.verifier, kVocab, 1, 3);
    rows.halve(DType::kBFloat16);
    const size_t from = ptx::launched().size();
    expect_same(rows.request);
    EXPECT_TRUE(was_launched(from, "scan_chunk_kernel")) << info.name;
  }
}

TEST(Large, MoreRowsByNarrowWarps) {
  Case rows(Verifier::kTopDown, kVocab, 10, 4);
  rows.halve(DType::kFloat16);
  rows.params.top_p = 0.9;
  const size_t from = ptx::launched().size();
  expect_same(rows.request);
  EXPECT_TRUE(was_launched(from, "scan_kernelILi2E"));
}

TEST(Large, ManyRowsByWideWarps) {
  Case rows(Verifier::kTraversal, 262144, 38, 5);
  rows.halve(DType::kBFloat16);
  const size_t from = ptx::launched().size();
  expect_same(rows.request);
  EXPECT_TRUE(was_launched(from, "scan_kernelILi8E"));
}

TEST(Large, DrawsFromManyRows) {
  for (const auto& [vocab, kernel] : {std::pair{int64_t{128256}, "scan_kernelILi2E"},
                                      std::pair{int64_t{1 << 20}, "scan_kernelILi8E"}}) {
    Case rows(Verifier::kTopDown, vocab, 11, 6);
    rows.halve(DType::kBFloat16);
    const RowsView& all = rows.request.target_logits;
    std::vector<double> uniforms;
    for (int64_t i = 0; i < all.rows; ++i) uniforms.push_back((i + 0.3) / all.rows);
    SamplingParams params;
    params.top_k = 40;
    std::vector<int64_t> wanted(all.rows), drawn(all.rows);
    sample_rows(all, params, uniforms.data(), wanted.data());
    const DeviceRows on_device(all);
    const size_t from = ptx::launched().size();
    sample_cuda(on_device.view(), params, uniforms.data(), drawn.data(), nullptr);
    EXPECT_EQ(drawn, wanted);
    EXPECT_TRUE(was_launched(from, kernel)) << vocab;
  }
  EXPECT_EQ(ptx::findings().count(), 0u);
}

// A lattice of uniforms, as in tests/python/test_cuda_distributions.py, where the CPU's
// distribution is shown to be exact.
TEST(Large, UniformsOfALattice) {
  for (const VerifierInfo& info : verifiers()) {
    Case few(info.verifier, 4, 61, 7);
    few.give_uniforms();
    expect_same(few.request);
  }
}

}  // namespace
}  // namespace anydraft
