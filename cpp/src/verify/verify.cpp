#include "anydraft/verify.h"

#include "anydraft/error.h"
#include "rows/cpu_rows.h"
#include "verify/check.h"

namespace anydraft {

const std::vector<VerifierInfo>& verifiers() {
  static const std::vector<VerifierInfo> all = {
#define ANYDRAFT_VERIFIER(name, enumerator, laws, source) \
  {#name, Verifier::enumerator, laws, source},
#include "verify/verifiers.def"
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

VerifyResult verify(const VerifyRequest& request) {
  detail::check(request);
  VerifyResult result;
  result.offsets.push_back(0);
  for (int64_t i = 0; i < request.trees.requests; ++i) {
    detail::CpuRows play(request, i);
    const detail::Walked walked =
        request.verifier == Verifier::kMatch ? detail::match(play) : detail::top_down(play);
    detail::append_path(request, i, walked, result);
  }
  return result;
}

}  // namespace anydraft
