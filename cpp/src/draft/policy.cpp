#include "draft/policy.h"

#include <algorithm>
#include <cmath>

namespace anydraft {
namespace {

constexpr double kForget = 0.9;       // a round: speed, usual length
constexpr double kForgetKept = 0.98;  // a token judged: acceptances
constexpr double kMostBalance = 3;    // so that a good beginning does not pay for a bad end
// Before anything is known, drafts are judged as at this speed: a high one makes them choosy.
constexpr double kPriorCost = 4, kPriorSpeed = 2.5;

struct Prior {
  double from;  // certainty, or tokens that agreed
  double acceptance;
};
constexpr Prior kCertainties[] = {{0, .15}, {.2, .33}, {.4, .52}, {.6, .72}, {.8, .86}, {.95, .95}};
constexpr Prior kAgreements[] = {{0, .3}, {3, .4}, {4, .5}, {5, .6}, {7, .75}, {11, .9}};
constexpr double kPriorWeight = 3, kPriorAcceptance = 0.7;

constexpr double kReadingCost = 0.1;  // of a prompt's token, in the drafter's calls: CPUs
constexpr int64_t kUsualText = 256;   // few texts go on to the most they may

}  // namespace

DraftPolicy::DraftPolicy(const DrafterOptions& options)
    : costs_(options.row_costs),
      draft_cost_(info_of(options.bridge).model ? options.draft_cost : 0),
      longest_(options.draft_length),
      all_{0, kPriorWeight * kPriorAcceptance, kPriorWeight},
      tokens_(kPriorCost * kPriorSpeed),
      cost_(kPriorCost) {
  for (const Prior& prior : info_of(options.bridge).model ? kCertainties : kAgreements) {
    grades_.push_back({prior.from, kPriorWeight * prior.acceptance, kPriorWeight});
  }
}

bool DraftPolicy::begin(int64_t context, int64_t remaining, int64_t together) {
  together_ = together;
  if (!credited_) {  // the request's first round
    balance_ = std::clamp(kCredit * static_cast<double>(remaining), 0.6, kMostBalance);
    unread_ = context;
    credited_ = true;
  }
  reach_ = 1;
  drawn_.clear();
  const bool rests = draft_cost_ > 0 && balance_ < 0;
  drafting_ = !rests && pays_to_read(remaining);
  return drafting_;
}

// Whether what the rest of the text is expected to gain is more than it costs the drafter to read
// the prompt. It reads that for one request, which the others of the call wait for. Where no costs
// are known the device may be one that reads prompts at once.
bool DraftPolicy::pays_to_read(int64_t remaining) const {
  if (unread_ == 0 || draft_cost_ == 0 || costs_.size() < 3) return true;
  const double unseen = kReadingCost * static_cast<double>(unread_ + untold_);
  const double cost = draft_cost_ * unseen * static_cast<double>(together_) / call_cost(together_);
  double reach = 1, tokens = 1, best = 1;
  for (int64_t length = 1; length <= longest_; ++length) {
    tokens += (reach *= all_.acceptance());
    const double calls = drafter_cost(static_cast<double>(length));
    best = std::max(best, tokens / (target_cost(length + 1) + calls));
  }
  const auto text = static_cast<double>(std::min(remaining, kUsualText));
  return text * (1 - 1 / best) + std::max(balance_, 0.0) > cost;
}

double DraftPolicy::call_cost(int64_t rows) const {
  const auto known = static_cast<int64_t>(costs_.size());
  if (known < 3) return 1 + kTokenCost * static_cast<double>(rows - 1);
  if (rows < known) return costs_[rows];
  const int64_t last = known - 1, middle = known / 2;  // the first rows may cost next to nothing
  const double slope = (costs_[last] - costs_[middle]) / static_cast<double>(last - middle);
  return costs_[last] + std::max(slope, 0.0) * static_cast<double>(rows - last);
}

// As if all requests of the call had as many rows.
double DraftPolicy::target_cost(int64_t rows) const {
  return call_cost(together_ * rows) / call_cost(together_);
}

// All requests wait for a call of the drafter, and few of them share it: drafts end at different
// lengths, some do not begin. 1.6 to 2.4 of 4 were measured; taken is the square root.
double DraftPolicy::drafter_cost(double calls) const {
  return draft_cost_ * calls * std::sqrt(static_cast<double>(together_));
}

double DraftPolicy::speed() const { return std::max(1.0, tokens_ / cost_); }

// The most that more tokens behind a draft of `rows` rows are worth, each kept as often as all are.
double DraftPolicy::gain_beyond(double reach, int64_t rows) const {
  const double here = target_cost(rows), acceptance = all_.acceptance();
  double best = 0, gained = 0;
  for (int64_t more = 1; rows - 1 + more <= longest_; ++more) {
    gained += (reach *= acceptance) / speed();
    const double calls = drafter_cost(static_cast<double>(more));
    best = std::max(best, gained - calls - (target_cost(rows + more) - here));
  }
  return best;
}

DraftPolicy::Step DraftPolicy::step(double sign) {
  size_t grade = 0;
  while (grade + 1 < grades_.size() && grades_[grade + 1].from <= sign) ++grade;
  const auto rows = static_cast<int64_t>(drawn_.size()) + 1;
  const double reach = reach_ * grades_[grade].acceptance();
  const double beyond = gain_beyond(reach, rows + 1);
  const double more = target_cost(rows + 1) - target_cost(rows);
  if (reach / speed() + beyond <= more) return {false, false};
  reach_ = reach;
  drawn_.push_back(grade);
  return {true, beyond > 0};
}

void DraftPolicy::Grade::judge(bool was_kept) {
  kept = kForgetKept * kept + (was_kept ? 1 : 0);
  judged = kForgetKept * judged + 1;
}

void DraftPolicy::judge(int64_t kept) {
  const auto drawn = static_cast<int64_t>(drawn_.size());
  for (int64_t i = 0; i < std::min(kept + 1, drawn); ++i) {
    grades_[drawn_[i]].judge(i < kept);
    all_.judge(i < kept);
  }
}

void DraftPolicy::settle(int64_t tokens, int64_t rows, int64_t draft_calls) {
  const auto came = static_cast<double>(tokens);
  balance_ += kTrying * came;
  untold_ += tokens;
  if (drafting_) {
    // The tokens of a rest are told the drafter in one call.
    const double late = kTokenCost * static_cast<double>(untold_ - tokens);
    const double calls = draft_calls > 0 ? static_cast<double>(draft_calls) + late : 0;
    const double cost = target_cost(rows) + drafter_cost(calls);
    if (draft_calls > 0) untold_ = unread_ = 0;
    tokens_ = kForget * tokens_ + came;
    cost_ = kForget * cost_ + cost;
    length_ = kForget * length_ + (1 - kForget) * static_cast<double>(rows - 1);
    balance_ += came - cost;
  }
  balance_ = std::min(balance_, kMostBalance);
}

int64_t DraftPolicy::usual_length() const {
  return std::clamp<int64_t>(std::lround(length_), 1, std::max<int64_t>(longest_, 1));
}

}  // namespace anydraft
