#include "anydraft/verify.h"

#include <utility>

#include "anydraft/error.h"
#include "base/parallel.h"
#include "rows/cpu_rows.h"
#include "verify/check.h"

namespace anydraft {
namespace {

void fill_acceptance(const VerifyRequest& request, int64_t index, detail::CpuScratch& scratch,
                     double* out) {
  const int32_t nodes = request.trees.offsets[index + 1] - request.trees.offsets[index];
  detail::CpuRows play(request, index, scratch);
  detail::tell_acceptance(request.verifier, play, nodes,
                          [out](int32_t node) -> double& { return out[node]; });
}

detail::Verdict play_request(const VerifyRequest& request, int64_t index, VerifyResult& result) {
  thread_local detail::CpuScratch scratch;
  if (request.report_status) detail::check_request(request, index);
  detail::CpuRows play(request, index, scratch);
  const detail::Verdict verdict = detail::run_verifier(request.verifier, play);
  result.degenerate[index] = play.degenerate();
  if (request.want_acceptance) {
    fill_acceptance(request, index, scratch,
                    result.acceptance.data() + request.trees.offsets[index]);
  }
  return verdict;
}

constexpr const char* kShapeNames[] = {"any tree", "chain", "independent paths, merged"};

std::string names_of(uint32_t proposals) {
  std::string names;
  for (int32_t kind = 0; kind <= static_cast<int32_t>(ProposalKind::kSparse); ++kind) {
    if (!(proposals >> kind & 1)) continue;
    names += (names.empty() ? "" : ", ") + std::string(name_of(static_cast<ProposalKind>(kind)));
  }
  return names;
}

}  // namespace

const std::vector<VerifierInfo>& verifiers() {
  static const std::vector<VerifierInfo> all = {
#define ANYDRAFT_VERIFIER(name, enumerator, algorithm, proposals, shape, traits, cost, source) \
  {#name,                                                                                      \
   Verifier::enumerator,                                                                       \
   names_of(proposals),                                                                        \
   kShapeNames[static_cast<int32_t>(DraftShape::shape)],                                       \
   "cpu, cuda",                                                                                \
   cost,                                                                                       \
   source},
#include "anydraft/verifiers.def"
#undef ANYDRAFT_VERIFIER
  };
  return all;
}

Verifier verifier_by_name(const std::string& name) {
  std::string known;
  for (const VerifierInfo& info : verifiers()) {
    if (name == info.name) return info.verifier;
    known += (known.empty() ? "" : ", ") + std::string(info.name);
  }
  throw Error(ErrorKind::kValue, "[verify] expected a verifier out of " + known + ", got " + name);
}

void verify(const VerifyRequest& request, VerifyResult& result) {
  detail::check(request);
  const int64_t requests = request.trees.requests;
  result.accepted.clear();
  result.next_tokens.clear();
  result.offsets.assign(1, 0);
  result.status.assign(request.report_status ? requests : 0, {});
  result.degenerate.assign(requests, 0);
  result.acceptance.assign(request.want_acceptance ? request.trees.nodes() : 0, 0.0);
  // Taken, not used in place: an executor may have this thread verify something else meanwhile.
  thread_local std::vector<detail::Verdict> spare;
  std::vector<detail::Verdict> verdicts = std::move(spare);
  verdicts.assign(requests, {0, -1});
  const auto play = [&](int64_t i) {
    if (!request.report_status) {
      verdicts[i] = play_request(request, i, result);
      return;
    }
    try {
      verdicts[i] = play_request(request, i, result);
    } catch (const Error& error) {
      result.status[i] = error.what();
    }
  };
  detail::parallel_for(requests, play, 2 * request.vocabulary());
  for (int64_t i = 0; i < requests; ++i) detail::append_path(request, i, verdicts[i], result);
  spare = std::move(verdicts);
}

VerifyResult verify(const VerifyRequest& request) {
  VerifyResult result;
  verify(request, result);
  return result;
}

}  // namespace anydraft
