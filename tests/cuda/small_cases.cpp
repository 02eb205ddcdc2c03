// Ragged trees on few tokens, and draws with all filters, on a CUDA device against the CPU engine:
// what tools/gpu.sh runs under compute-sanitizer, and by itself where Python has no torch.
//
//   small_cases [one_block]     "one_block": no clusters
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "anydraft/cuda.h"
#include "anydraft/error.h"
#include "cuda/launch.h"

namespace anydraft {
namespace {

using detail::check_cuda;

template <class T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& from) : count_(from.size()) {
    check_cuda(cudaMalloc(&data_, bytes() + 1), "cudaMalloc");
    check_cuda(cudaMemcpy(data_, from.data(), bytes(), cudaMemcpyHostToDevice), "upload");
  }
  explicit OnDevice(size_t count) : OnDevice(std::vector<T>(count)) {}
  ~OnDevice() { cudaFree(data_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  T* get() const { return data_; }
  std::vector<T> host() const {
    std::vector<T> to(count_);
    check_cuda(cudaMemcpy(to.data(), data_, bytes(), cudaMemcpyDeviceToHost), "download");
    return to;
  }

 private:
  size_t bytes() const { return count_ * sizeof(T); }
  size_t count_;
  T* data_ = nullptr;
};

// bfloat16 rows a little longer than the vocabulary.
std::vector<uint16_t> normal_rows(int64_t rows, int64_t stride, std::mt19937_64& random) {
  std::normal_distribution<float> normal(0, 2);
  std::vector<uint16_t> all;
  for (int64_t i = 0; i < rows * stride; ++i) {
    const float x = normal(random) + (i % stride < 5 ? 6 : 0);
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    all.push_back(static_cast<uint16_t>(bits >> 16));
  }
  return all;
}

RowsView view(const uint16_t* data, int64_t rows, int64_t vocab) {
  return {data, DType::kBFloat16, rows, vocab, vocab + 1};
}

// Three requests' trees, chains for block, by any distribution of the verifier but sparse ones.
struct Trees {
  std::vector<int32_t> tokens, parents, offsets{0}, rows, paths;
  std::vector<ProposalKind> kinds;

  Trees(Verifier verifier, int64_t vocab, std::mt19937_64& random) {
    std::vector<ProposalKind> allowed;
    for (int kind = 0; kind < static_cast<int>(ProposalKind::kSparse); ++kind) {
      if (takes(verifier, static_cast<ProposalKind>(kind)))
        allowed.push_back(static_cast<ProposalKind>(kind));
    }
    for (int request = 0; request < 3; ++request) {
      const int nodes = 1 + static_cast<int>(random() % 6);
      for (int node = 0; node < nodes; ++node) {
        const int back = verifier == Verifier::kBlock ? 1 : 1 + static_cast<int>(random() % 3);
        parents.push_back(node == 0 ? -1 : std::max(node - back, 0));
        tokens.push_back(static_cast<int32_t>(random() % std::min<int64_t>(vocab, 5)));
        kinds.push_back(allowed[random() % allowed.size()]);
        rows.push_back(static_cast<int32_t>(rows.size()));
        paths.push_back(1 + static_cast<int32_t>(random() % 3));
      }
      offsets.push_back(static_cast<int32_t>(tokens.size()));
    }
  }
};

SamplingParams params_of(int index) {
  SamplingParams params;
  params.temperature = index == 1 ? 0 : 0.8;
  if (index == 2) params.top_k = 50, params.top_p = 0.95, params.min_p = 1e-4;
  return params;
}

bool same_tree(Verifier verifier, int64_t vocab, int filter, int splits, bool lazy) {
  std::mt19937_64 random(vocab * 7 + filter);
  const Trees trees(verifier, vocab, random);
  const auto nodes = static_cast<int64_t>(trees.tokens.size());
  const std::vector<uint16_t> target = normal_rows(nodes, vocab + 1, random);
  const std::vector<uint16_t> draft = normal_rows(nodes, vocab + 1, random);
  const SamplingParams params = params_of(filter);
  VerifyRequest cpu;
  cpu.trees = {trees.tokens.data(), trees.parents.data(), trees.offsets.data(), 3,
               trees.paths.data()};
  cpu.target_logits = view(target.data(), nodes, vocab);
  cpu.draft_logits = view(draft.data(), nodes, vocab);
  cpu.proposals = {trees.kinds.data(), trees.rows.data()};
  cpu.sampling = cpu.draft_sampling = &params;
  cpu.verifier = verifier;
  cpu.report_status = true;
  cpu.want_acceptance = verifier != Verifier::kMultipath;
  const VerifyResult wanted = verify(cpu);

  const OnDevice<int32_t> tokens(trees.tokens), parents(trees.parents), offsets(trees.offsets),
      rows(trees.rows), paths(trees.paths);
  const OnDevice<ProposalKind> kinds(trees.kinds);
  const OnDevice<uint16_t> target_rows(target), draft_rows(draft);
  const OnDevice<DistributionParams> distributions(
      std::vector<DistributionParams>(3, distribution_params(params)));
  CudaVerifyRequest all;
  all.trees = {tokens.get(), parents.get(), offsets.get(), 3, paths.get()};
  all.nodes = nodes;
  all.target_logits = view(target_rows.get(), nodes, vocab);
  all.draft_logits = view(draft_rows.get(), nodes, vocab);
  all.proposals = {kinds.get(), rows.get()};
  all.sampling = all.draft_sampling = distributions.get();
  all.verifier = verifier;
  all.splits = splits;
  all.lazy = lazy;
  const OnDevice<int32_t> accepted(nodes), counts(3), where(3);
  const OnDevice<int64_t> next(3);
  const OnDevice<CudaStatus> status(3);
  const OnDevice<uint8_t> degenerate(3), workspace(verify_cuda_workspace(all));
  const OnDevice<double> acceptance(wanted.acceptance.size());
  verify_cuda_async(all,
                    {accepted.get(), counts.get(), next.get(), status.get(), where.get(),
                     degenerate.get(), cpu.want_acceptance ? acceptance.get() : nullptr},
                    workspace.get(), verify_cuda_workspace(all), nullptr);
  check_cuda(cudaDeviceSynchronize(), "verification");
  std::vector<int32_t> kept;
  const std::vector<int32_t> path = accepted.host(), count = counts.host();
  for (int i = 0; i < 3; ++i) {
    const int32_t* from = path.data() + trees.offsets[i];
    kept.insert(kept.end(), from, from + count[i]);
  }
  bool same = kept == wanted.accepted && next.host() == wanted.next_tokens;
  const std::vector<double> told = acceptance.host();
  for (int i = 0; i < 3; ++i) {
    if (!cpu.want_acceptance || !wanted.status[i].empty()) continue;
    for (int32_t node = trees.offsets[i]; node < trees.offsets[i + 1]; ++node) {
      same = same && told[node] == wanted.acceptance[node];
    }
  }
  return same;
}

bool same_draws(int64_t vocab, int filter) {
  constexpr int64_t kRows = 5;
  std::mt19937_64 random(vocab + filter);
  const std::vector<uint16_t> logits = normal_rows(kRows, vocab + 1, random);
  const std::vector<double> uniforms{0.01, 0.3, 0.5, 0.77, 0.999};
  std::vector<int64_t> wanted(kRows), drawn(kRows);
  sample_rows(view(logits.data(), kRows, vocab), params_of(filter), uniforms.data(), wanted.data());
  const OnDevice<uint16_t> rows(logits);
  sample_cuda(view(rows.get(), kRows, vocab), params_of(filter), uniforms.data(), drawn.data(),
              nullptr);
  return drawn == wanted;
}

int run(bool one_block) {
  int cases = 0, wrong = 0;
  const auto say = [&](bool same, const char* what, int64_t vocab, int filter, int splits) {
    ++cases;
    if (same) return;
    ++wrong;
    std::printf("other tokens than the CPU: %s, vocabulary %lld, filter %d, %d splits\n", what,
                static_cast<long long>(vocab), filter, splits);
  };
  for (int64_t vocab : {1, 300, 4099, 9000}) {
    for (int filter = 0; filter < 3; ++filter) {
      for (const VerifierInfo& info : verifiers()) {
        for (int splits : {1, 4}) {
          if (splits > 1 && one_block) continue;
          const bool lazy = vocab == 300;
          say(same_tree(info.verifier, vocab, filter, splits, lazy), info.name, vocab, filter,
              splits);
        }
      }
      if (!one_block) say(same_draws(vocab, filter), "draws", vocab, filter, 0);
    }
  }
  std::printf("%d cases on the device, %d with other tokens than the CPU\n", cases, wrong);
  return wrong > 0;
}

}  // namespace
}  // namespace anydraft

int main(int count, char** arguments) {
  try {
    return anydraft::run(count > 1 && std::strcmp(arguments[1], "one_block") == 0);
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return 2;
  }
}
