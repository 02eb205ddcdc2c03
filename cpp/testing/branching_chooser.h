// A session whose random choices are branches: it is run again for each of them.
#pragma once

#include <functional>
#include <utility>

#include "anydraft/detail/draws.h"
#include "session/chooser.h"
#include "testing/branching.h"
#include "verify/check.h"

namespace anydraft::testing {

class BranchingChooser : public Chooser {
 public:
  // Changes what the verifier is told, for tests of wrong laws: given the tree and its law rows.
  using Restate = std::function<void(const VerifyRequest&, std::vector<float>& laws)>;
  explicit BranchingChooser(Restate restate = nullptr) : restate_(std::move(restate)) {}

  void restart() { branches_.restart(); }
  bool advance() { return branches_.advance(); }
  double weight() const { return branches_.weight(); }

  int32_t draw(LawKind kind, const RowsView& rows, int64_t index, const SamplingParams& params,
               int32_t width, CoinKey, int32_t* out) override {
    BranchingDrawer drawer(rows, index, params, branches_);
    return detail::draw_children(drawer, kind, width, out);
  }
  bool chance(double part, double rest, CoinKey) override {
    return branches_.choose({part, rest}) == 0;
  }
  VerifyResult judge(const VerifyRequest& given) override {
    VerifyRequest request = given;
    std::vector<float> laws;
    if (restate_ && request.draft_logits.data) {
      const auto* data = static_cast<const float*>(request.draft_logits.data);
      laws.assign(data, data + request.draft_logits.rows * request.draft_logits.cols);
      restate_(request, laws);
      request.draft_logits.data = laws.data();
    }
    detail::check(request);
    EnumeratingRows play(request, scratch_, branches_);
    VerifyResult result;
    result.offsets = {0};
    detail::append_path(request, 0, detail::walk(request.verifier, play), result);
    return result;
  }

 private:
  Branches branches_;
  detail::CpuScratch scratch_;
  Restate restate_;
};

}  // namespace anydraft::testing
