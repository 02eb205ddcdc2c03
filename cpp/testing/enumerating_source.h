// A session whose random choices are branches: it is run again for each of them.
#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "anydraft/detail/draws.h"
#include "rows/random_source.h"
#include "testing/branching.h"
#include "verify/check.h"

namespace anydraft::testing {

class EnumeratingSource : public RandomSource {
 public:
  // Changes what the verifier is told, for tests of wrong distributions: given the tree and its
  // distribution rows.
  using Restate = std::function<void(const VerifyRequest&, std::vector<float>& distributions)>;
  // Of requests that share an engine only those of this random stream branch; the others draw by
  // their keys.
  explicit EnumeratingSource(Restate restate = nullptr, std::optional<uint32_t> only = {})
      : restate_(std::move(restate)), only_(only) {}

  void restart() { branches_.restart(); }
  void use(const RandomKey& key) { branches_.use(key); }
  bool advance() { return branches_.advance(); }
  double weight() const { return branches_.weight(); }

  int32_t draw(ProposalKind kind, DraftRow& row, const SamplingParams& params, int32_t width,
               RandomKey key, int32_t* out) override {
    if (!branches(key.request)) return RandomSource::draw(kind, row, params, width, key, out);
    BranchingDrawer drawer(row, params, branches_);
    const int32_t count = detail::draw_children(drawer, kind, width, out);
    const bool first_alone = kind == ProposalKind::kSpecHub || kind == ProposalKind::kGreedyK;
    const int32_t drawn = kind == ProposalKind::kOneHot ? 0
                          : first_alone                 ? std::min(count, 1)
                                                        : count;
    for (int32_t child = 0; child < drawn; ++child, ++key.node) branches_.use(key);
    return count;
  }
  bool chance(double part, double rest, RandomKey key) override {
    if (!branches(key.request)) return RandomSource::chance(part, rest, key);
    branches_.use(key);
    return branches_.choose({part, rest}) == 0;
  }
  VerifyResult judge(const VerifyRequest& given) override {
    if (!branches(given.uniforms.requests[0])) return RandomSource::judge(given);
    VerifyRequest request = given;
    std::vector<float> logits;
    std::vector<DraftRow> rows(given.draft_row_count);
    std::vector<const DraftRow*> pointers;
    const int64_t vocab = given.vocabulary();
    if (restate_ && given.draft_row_count > 0) {
      for (int64_t i = 0; i < given.draft_row_count; ++i) {
        detail::Distribution distribution = detail::unread_row(*given.draft_rows[i]);
        detail::take_known(*given.draft_rows[i]->known, distribution);
        for (int64_t token = 0; token < vocab; ++token) {
          const bool there = token < distribution.size;
          logits.push_back(there ? detail::logit_at(distribution, token) : -INFINITY);
        }
      }
      restate_(request, logits);
      for (int64_t i = 0; i < given.draft_row_count; ++i) {
        rows[i].logits = {logits.data() + i * vocab, DType::kFloat32, vocab, i};
        pointers.push_back(&rows[i]);
      }
      request.draft_rows = pointers.data();
    }
    detail::check(request);
    EnumeratingRows play(request, scratch_, branches_);
    VerifyResult result;
    result.offsets = {0};
    detail::append_path(request, 0, detail::run_verifier(request.verifier, play), result);
    return result;
  }

 private:
  bool branches(uint32_t stream) const { return !only_ || stream == *only_; }

  Branches branches_;
  detail::CpuScratch scratch_;
  Restate restate_;
  std::optional<uint32_t> only_;
};

}  // namespace anydraft::testing
