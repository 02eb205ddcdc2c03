// Every sequence of choices, depth first: the whole computation is replayed once a sequence.
#pragma once

#include <cstdint>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "anydraft/random.h"

namespace anydraft::testing {

class Branches {
 public:
  void restart() {
    depth_ = 0;
    weight_ = 1;
    used_.clear();
  }

  // Every random decision names its key, as the shipped source does. The branches themselves need
  // no key, so without this a key that decides twice would go unseen: the two decisions would be
  // equal where the enumeration takes them for independent.
  void use(const RandomKey& key) {
    const auto purpose = static_cast<uint32_t>(key.purpose);
    if (used_.insert({key.request, key.position, key.node, purpose, key.attempt}).second) return;
    throw std::logic_error("[Branches] expected a key that is used once, got request " +
                           std::to_string(key.request) + ", position " +
                           std::to_string(key.position) + ", node " + std::to_string(key.node) +
                           ", purpose " + std::to_string(purpose) + ", attempt " +
                           std::to_string(key.attempt) + " again");
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
  std::set<std::tuple<uint32_t, uint32_t, uint32_t, uint32_t, uint32_t>> used_;
  size_t depth_ = 0;
  double weight_ = 1;
};

}  // namespace anydraft::testing
