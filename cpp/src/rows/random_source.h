// Where the random choices of a session come from: uniforms, or the tests, which follow every
// branch.
#pragma once

#include "anydraft/draft.h"

namespace anydraft {

class RandomSource {
 public:
  virtual ~RandomSource() = default;
  // As anydraft::draw_children.
  virtual int32_t draw(ProposalKind kind, DraftRow& row, const SamplingParams& params,
                       int32_t width, RandomKey key, int32_t* out) {
    return draw_children(kind, row, params, width, key, out);
  }
  // True with probability part / (part + rest).
  virtual bool chance(double part, double rest, RandomKey key) {
    return uniform(key) * (part + rest) < part;
  }
  virtual VerifyResult judge(const VerifyRequest& request) { return verify(request); }
};

}  // namespace anydraft
