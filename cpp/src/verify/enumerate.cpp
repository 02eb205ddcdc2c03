#include "anydraft/testing/enumerate.h"

#include <algorithm>

#include "anydraft/error.h"
#include "rows/cpu_rows.h"
#include "verify/check.h"

namespace anydraft::testing {
namespace {

// Depth-first over all sequences of choices: replays the whole computation once a sequence.
class Branches {
 public:
  void restart() {
    depth_ = 0;
    weight_ = 1;
  }

  // The branch to take now, out of those with positive weight.
  int32_t choose(const std::vector<double>& weights) {
    double total = 0;
    for (double w : weights) total += w;
    if (depth_ == path_.size()) path_.push_back(next_positive(weights, 0));
    const int32_t choice = path_[depth_];
    if (depth_ == rest_.size()) rest_.push_back(0);
    rest_[depth_] = next_positive(weights, choice + 1);
    ++depth_;
    weight_ *= weights[choice] / total;
    return choice;
  }

  // Moves on to the next sequence; false where there is none.
  bool advance() {
    path_.resize(depth_);
    rest_.resize(depth_);
    while (!path_.empty() && rest_.back() < 0) {
      path_.pop_back();
      rest_.pop_back();
    }
    if (path_.empty()) return false;
    path_.back() = rest_.back();
    return true;
  }

  double weight() const { return weight_; }

 private:
  static int32_t next_positive(const std::vector<double>& weights, int32_t from) {
    for (size_t i = from; i < weights.size(); ++i) {
      if (weights[i] > 0) return static_cast<int32_t>(i);
    }
    return -1;
  }

  std::vector<int32_t> path_, rest_;  // choice taken at each depth, and the one after it (-1: none)
  size_t depth_ = 0;
  double weight_ = 1;
};

class EnumeratingRows : public detail::CpuRows {
 public:
  EnumeratingRows(const VerifyRequest& all, Branches& branches)
      : CpuRows(all, 0), branches_(branches) {}

  bool accept(double numerator, double denominator, int32_t) {
    if (numerator >= denominator) return numerator > 0;  // coin < 1: no branch to follow
    return branches_.choose({numerator, denominator - numerator}) == 0;
  }

  int32_t pick(const detail::Residual& residual, int32_t, Purpose) {
    std::vector<double> weights(vocab());
    for (int64_t i = 0; i < vocab(); ++i) weights[i] = weight(residual, static_cast<int32_t>(i));
    return branches_.choose(weights);
  }

 private:
  Branches& branches_;
};

int32_t draw(const ChainCase& chain, int64_t prefix, Branches& branches) {
  const detail::Law law = make_law(chain.draft_logits, prefix, chain.draft_sampling);
  std::vector<double> weights(law.size);
  for (int64_t i = 0; i < law.size; ++i) weights[i] = detail::mass(law, i);
  return branches.choose(weights);
}

// Rows `prefixes` of a table, side by side.
std::vector<float> gather(const RowsView& table, const std::vector<int64_t>& prefixes) {
  std::vector<float> rows;
  for (int64_t prefix : prefixes) {
    for (int64_t i = 0; i < table.cols; ++i) {
      rows.push_back(detail::load(table.row(prefix), table.dtype, i));
    }
  }
  return rows;
}

Outcome play_once(const ChainCase& chain, Branches& branches) {
  const int64_t vocab = chain.target_logits.cols;
  const int32_t length = chain.draft_length;
  std::vector<int64_t> prefixes = {0};
  std::vector<int32_t> tokens = {0}, parents = {-1}, law_rows;
  for (int32_t i = 0; i < length; ++i) {
    const int32_t token = draw(chain, prefixes.back(), branches);
    prefixes.push_back(prefixes.back() * vocab + 1 + token);
    tokens.push_back(token);
    parents.push_back(i);
  }
  for (int32_t i = 0; i <= length; ++i) law_rows.push_back(i);
  const std::vector<LawKind> kinds(length + 1, chain.law);
  const std::vector<int32_t> offsets = {0, length + 1};
  const std::vector<float> target = gather(chain.target_logits, prefixes);
  const std::vector<float> draft = gather(chain.draft_logits, prefixes);
  VerifyRequest request;
  request.trees = {tokens.data(), parents.data(), offsets.data(), 1};
  request.target_logits = {target.data(), DType::kFloat32, length + 1, vocab, vocab};
  request.draft_logits = {draft.data(), DType::kFloat32, length + 1, vocab, vocab};
  request.laws = {kinds.data(), law_rows.data()};
  request.sampling = chain.sampling;
  request.draft_sampling = chain.draft_sampling;
  request.verifier = chain.verifier;
  detail::check(request);
  EnumeratingRows play(request, branches);
  const detail::Walked walked =
      chain.verifier == Verifier::kMatch ? detail::match(play) : detail::top_down(play);
  Outcome outcome{branches.weight(), {tokens.begin() + 1, tokens.begin() + 1 + walked.node}};
  outcome.emitted.push_back(walked.next_token);
  return outcome;
}

}  // namespace

std::vector<Outcome> enumerate_chain(const ChainCase& chain) {
  int64_t prefixes = 1, level = 1;
  for (int32_t i = 0; i < chain.draft_length; ++i) {
    level *= chain.target_logits.cols;
    prefixes += level;
  }
  if (chain.target_logits.rows < prefixes || chain.draft_logits.rows < prefixes ||
      chain.draft_logits.cols != chain.target_logits.cols) {
    throw Error(ErrorKind::kValue, "[enumerate_chain] expected two tables of at least " +
                                       std::to_string(prefixes) + " rows and equal width");
  }
  std::vector<Outcome> outcomes;
  Branches branches;
  do {
    branches.restart();
    outcomes.push_back(play_once(chain, branches));
  } while (branches.advance());
  return outcomes;
}

}  // namespace anydraft::testing
