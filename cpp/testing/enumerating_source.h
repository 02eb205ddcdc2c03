// A session whose random choices are branches: it is run again for each of them.
#pragma once

#include <algorithm>
#include <functional>
#include <utility>

#include "anydraft/detail/draws.h"
#include "draft/random_source.h"
#include "testing/branching.h"
#include "verify/check.h"

namespace anydraft::testing {

class EnumeratingSource : public RandomSource {
 public:
  // Changes what the verifier is told, for tests of wrong distributions: given the tree and its
  // distribution rows.
  using Restate = std::function<void(const VerifyRequest&, std::vector<float>& distributions)>;
  explicit EnumeratingSource(Restate restate = nullptr) : restate_(std::move(restate)) {}

  void restart() { branches_.restart(); }
  void use(const RandomKey& key) { branches_.use(key); }
  bool advance() { return branches_.advance(); }
  double weight() const { return branches_.weight(); }

  int32_t draw(ProposalKind kind, const RowsView& rows, int64_t index, const SamplingParams& params,
               int32_t width, RandomKey key, int32_t* out) override {
    BranchingDrawer drawer(rows, index, params, branches_);
    const int32_t count = detail::draw_children(drawer, kind, width, out);
    const bool first_alone = kind == ProposalKind::kSpecHub || kind == ProposalKind::kGreedyK;
    const int32_t drawn = kind == ProposalKind::kOneHot ? 0
                          : first_alone                 ? std::min(count, 1)
                                                        : count;
    for (int32_t child = 0; child < drawn; ++child, ++key.node) branches_.use(key);
    return count;
  }
  bool chance(double part, double rest, RandomKey key) override {
    branches_.use(key);
    return branches_.choose({part, rest}) == 0;
  }
  VerifyResult judge(const VerifyRequest& given) override {
    VerifyRequest request = given;
    std::vector<float> distributions;
    if (restate_ && request.draft_logits.data) {
      const auto* data = static_cast<const float*>(request.draft_logits.data);
      distributions.assign(data, data + request.draft_logits.rows * request.draft_logits.cols);
      restate_(request, distributions);
      request.draft_logits.data = distributions.data();
    }
    detail::check(request);
    EnumeratingRows play(request, scratch_, branches_);
    VerifyResult result;
    result.offsets = {0};
    detail::append_path(request, 0, detail::run_verifier(request.verifier, play), result);
    return result;
  }

 private:
  Branches branches_;
  detail::CpuScratch scratch_;
  Restate restate_;
};

}  // namespace anydraft::testing
