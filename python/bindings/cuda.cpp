#include "anydraft/cuda.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "anydraft/error.h"
#include "bind.h"
#include "bridge/packed_map.h"
#include "bridge/tli.h"
#include "dlpack.h"

namespace anydraft::bindings {
namespace {

// Device addresses, as the caller's tensors give them.
using Address = uint64_t;

template <class T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

Rows cuda_rows_from(const py::object& tensor, const std::string& what) {
  Rows rows = rows_from(tensor, what);
  if (!rows.on_cuda) {
    throw Error(ErrorKind::kValue, "[" + what + "] expected rows in CUDA memory, got CPU memory");
  }
  return rows;
}

UniformsView uniforms_from(uint64_t seed, const std::array<Address, 6>& from) {
  UniformsView uniforms;
  uniforms.seed = seed;
  uniforms.seeds = at<const uint64_t>(from[0]);
  uniforms.requests = at<const uint32_t>(from[1]);
  uniforms.positions = at<const uint32_t>(from[2]);
  uniforms.accept = at<const double>(from[3]);
  uniforms.pick = at<const double>(from[4]);
  uniforms.select = at<const double>(from[5]);
  return uniforms;
}

struct CudaVerification {
  CudaVerifyRequest request;
  CudaVerifyResult result;
  size_t workspace = 0;

  CudaVerification(Address tokens, Address parents, Address offsets, Address paths,
                   int64_t requests, const py::object& target_logits,
                   const py::object& draft_logits, Address kinds, Address rows, Address sampling,
                   Address draft_sampling, const std::string& verifier, uint64_t seed,
                   const std::array<Address, 6>& uniforms, const std::array<Address, 4>& drafts,
                   int splits, bool lazy, const std::array<Address, 3>& kept,
                   const std::array<Address, 4>& said) {
    request.trees = {at<const int32_t>(tokens), at<const int32_t>(parents),
                     at<const int32_t>(offsets), requests, at<const int32_t>(paths)};
    request.target_logits = cuda_rows_from(target_logits, "target_logits").view;
    request.nodes = request.target_logits.rows;
    if (!draft_logits.is_none()) {
      request.draft_logits = cuda_rows_from(draft_logits, "draft_logits").view;
    }
    request.proposals.kinds = at<const ProposalKind>(kinds);
    request.proposals.rows = at<const int32_t>(rows);
    request.sampling = at<const DistributionParams>(sampling);
    request.draft_sampling = at<const DistributionParams>(draft_sampling);
    request.verifier = verifier_by_name(verifier);
    request.uniforms = uniforms_from(seed, uniforms);
    request.draft_distributions = at<const RowDistribution>(drafts[0]);
    request.draft_map = at<const int32_t>(drafts[1]);
    request.draft_weighed = at<const RowDistribution>(drafts[2]);
    request.draft_places = at<const TriePlace>(drafts[3]);
    request.splits = splits;
    request.lazy = lazy;
    result = {at<int32_t>(kept[0]),    at<int32_t>(kept[1]), at<int64_t>(kept[2]),
              at<CudaStatus>(said[0]), at<int32_t>(said[1]), at<uint8_t>(said[2]),
              at<double>(said[3])};
    workspace = verify_cuda_workspace(request);
  }
};

struct CudaSampling {
  CudaSampleRequest request;
  CudaSampleResult result;
  size_t workspace = 0;

  CudaSampling(const py::object& logits, Address sampling, uint64_t seed,
               const std::array<Address, 6>& uniforms, Address nodes, uint32_t purpose, int splits,
               const std::array<Address, 3>& map, int64_t vocab,
               const std::array<Address, 5>& out) {
    request.logits = cuda_rows_from(logits, "logits").view;
    request.params = at<const DistributionParams>(sampling);
    request.uniforms = uniforms_from(seed, uniforms);
    request.nodes = at<const uint32_t>(nodes);
    request.purpose = static_cast<Purpose>(purpose);
    request.splits = splits;
    request.map = at<const int32_t>(map[0]);
    request.weighed = at<const RowDistribution>(map[1]);
    request.places = at<const TriePlace>(map[2]);
    request.vocab = vocab;
    result = {at<int64_t>(out[0]), at<CudaStatus>(out[1]), at<RowDistribution>(out[2]),
              at<int32_t>(out[3]), at<TriePlace>(out[4])};
    workspace = sample_cuda_workspace(request);
  }
};

// float32 [rows, width] of what `one` makes of each of the drafter's rows.
template <class One>
py::array_t<float> rows_by_target(const py::object& logits, int64_t width, const One& one) {
  const Rows rows = cpu_rows_from(logits, "draft_logits");
  py::array_t<float> all({rows.view.rows, width});
  for (int64_t row = 0; row < rows.view.rows; ++row) {
    const std::vector<float> made = one(rows.view, row);
    std::copy(made.begin(), made.end(), all.mutable_data(row, 0));
  }
  return all;
}

}  // namespace

void bind_cuda(py::module_& module) {
  module.def("cuda_built", cuda_built);
  module.def(
      "distribution_params",
      [](const SamplingParams& params) {
        std::vector<uint8_t> bytes(sizeof(DistributionParams));
        const DistributionParams distribution = distribution_params(params);
        std::memcpy(bytes.data(), &distribution, sizeof distribution);
        return bytes;
      },
      py::arg("params"));
  module.def("distribution_params_bytes", [] { return sizeof(DistributionParams); });
  module.def("row_distribution_bytes", [] { return sizeof(RowDistribution); });
  module.def("pack_map", &pack_map, py::arg("map"), py::arg("target_vocab"),
             py::arg("draft_vocab"));
  module.def("pack_token_trie", &pack_token_trie, py::arg("token_trie"), py::arg("draft_size"),
             py::arg("target_vocab"), py::arg("draft_vocab"));
  module.def(
      "projected_rows",
      [](const py::object& logits, const VocabularyMap& map, int64_t width,
         const SamplingParams& params) {
        return rows_by_target(logits, width, [&](const RowsView& rows, int64_t row) {
          return detail::project(rows, row, map, width, params);
        });
      },
      py::arg("logits"), py::arg("map"), py::arg("width"), py::arg("params"), R"(
float32 [rows, width] logits over target ids, as `bridge="tli"` draws from them; on the CPU.

Raises:
    NonFiniteLogitsError: NaN or +inf.
)");
  module.def(
      "psi_rows",
      [](const py::object& logits, const DraftTokenTrie& token_trie, int64_t width,
         const SamplingParams& params) {
        return rows_by_target(logits, width, [&](const RowsView& rows, int64_t row) {
          const detail::Distribution distribution = make_distribution(rows, row, params);
          return token_trie.psi(distribution, token_trie.root(), width);
        });
      },
      py::arg("logits"), py::arg("token_trie"), py::arg("width"), py::arg("params"),
      "As `projected_rows`, of `bridge=\"slrs\"` where a drafter token begins: filters are in it.");
  py::class_<CudaVerification>(
      module, "CudaVerification",
      "Addresses are those of device memory; 0: not given. See `anydraft.cuda`.")
      .def(py::init<Address, Address, Address, Address, int64_t, const py::object&,
                    const py::object&, Address, Address, Address, Address, const std::string&,
                    uint64_t, const std::array<Address, 6>&, const std::array<Address, 4>&, int,
                    bool, const std::array<Address, 3>&, const std::array<Address, 4>&>(),
           py::arg("tokens"), py::arg("parents"), py::arg("offsets"), py::arg("paths"),
           py::arg("requests"), py::arg("target_logits"), py::arg("draft_logits"), py::arg("kinds"),
           py::arg("rows"), py::arg("sampling"), py::arg("draft_sampling"), py::arg("verifier"),
           py::arg("seed"), py::arg("uniforms"), py::arg("drafts"), py::arg("splits"),
           py::arg("lazy"), py::arg("kept"), py::arg("said"))
      .def_readonly("workspace", &CudaVerification::workspace)
      .def(
          "run",
          [](const CudaVerification& call, Address workspace, Address stream) {
            verify_cuda_async(call.request, call.result, at<void>(workspace), call.workspace,
                              at<void>(stream));
          },
          py::arg("workspace"), py::arg("stream"));
  py::class_<CudaSampling>(module, "CudaSampling", "As `CudaVerification`.")
      .def(py::init<const py::object&, Address, uint64_t, const std::array<Address, 6>&, Address,
                    uint32_t, int, const std::array<Address, 3>&, int64_t,
                    const std::array<Address, 5>&>(),
           py::arg("logits"), py::arg("sampling"), py::arg("seed"), py::arg("uniforms"),
           py::arg("nodes"), py::arg("purpose"), py::arg("splits"), py::arg("map"),
           py::arg("vocab"), py::arg("out"))
      .def_readonly("workspace", &CudaSampling::workspace)
      .def(
          "run",
          [](const CudaSampling& call, Address workspace, Address stream) {
            sample_cuda_async(call.request, call.result, at<void>(workspace), call.workspace,
                              at<void>(stream));
          },
          py::arg("workspace"), py::arg("stream"));
}

}  // namespace anydraft::bindings
