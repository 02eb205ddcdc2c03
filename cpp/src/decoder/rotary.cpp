#include "decoder/rotary.h"

#include <algorithm>
#include <cmath>

namespace anydraft::detail {
namespace {

constexpr double kPi = 3.14159265358979323846;

// Touvron et al. 2024 (Llama 3.1): long waves are slowed by `factor`, those between get a mixture.
double llama3(const Rope& rope, double frequency) {
  const double wave = 2 * kPi / frequency;
  const double smooth = (rope.original_context / wave - rope.low_freq_factor) /
                        (rope.high_freq_factor - rope.low_freq_factor);
  if (wave > rope.original_context / rope.low_freq_factor) return frequency / rope.factor;
  if (wave < rope.original_context / rope.high_freq_factor) return frequency;
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

// Peng et al. 2023 (YaRN): dimensions between two borders go over from turning as they were to
// turning more slowly.
double yarn(const Rope& rope, double frequency, int64_t i) {
  const auto size = static_cast<double>(rope.dimensions);
  const auto border = [&](double turns) {
    return size * std::log(rope.original_context / (turns * 2 * kPi)) / (2 * std::log(rope.theta));
  };
  double low = border(rope.beta_fast), high = border(rope.beta_slow);
  if (rope.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, size - 1);
  if (low == high) high += 0.001;
  const double slow = std::min(std::max((static_cast<double>(i) - low) / (high - low), 0.0), 1.0);
  return frequency / rope.factor * slow + frequency * (1 - slow);
}

double attention_factor(const Rope& rope) {
  if (rope.attention_factor != 0) return rope.attention_factor;
  if (rope.factor <= 1) return 1;
  if (rope.type == "yarn") return 0.1 * std::log(rope.factor) + 1;
  if (rope.type != "longrope") return 1;
  return std::sqrt(1 + std::log(rope.factor) / std::log(rope.original_context));
}

}  // namespace

Rotary::Rotary(const Rope& rope) : factor_(static_cast<float>(attention_factor(rope))) {
  for (int64_t i = 0; i < rope.dimensions / 2; ++i) {
    const auto at = static_cast<size_t>(i);
    double frequency =
        std::pow(rope.theta, -2 * static_cast<double>(i) / static_cast<double>(rope.dimensions));
    if (rope.type == "linear") frequency /= rope.factor;
    if (rope.type == "llama3") frequency = llama3(rope, frequency);
    if (rope.type == "yarn") frequency = yarn(rope, frequency, i);
    if (!rope.frequency_factors.empty()) frequency /= rope.frequency_factors[at];
    if (rope.type == "longrope") {
      border_ = static_cast<int64_t>(rope.original_context);
      far_.push_back(static_cast<float>(frequency / rope.long_factor[at]));
      frequency /= rope.short_factor[at];
    }
    frequencies_.push_back(static_cast<float>(frequency));
  }
}

void Rotary::prepare(int64_t end) {
  const auto row = static_cast<size_t>(2 * half());
  if (row == 0 || table_.size() >= static_cast<size_t>(end) * row) return;
  auto position = static_cast<int64_t>(table_.size() / row);
  table_.resize(static_cast<size_t>((end + 511) / 512 * 512) * row);
  for (; static_cast<size_t>(position) < table_.size() / row; ++position) {
    const std::vector<float>& turns = position < border_ ? frequencies_ : far_;
    float* to = &table_[static_cast<size_t>(position) * row];
    for (int64_t i = 0; i < half(); ++i) {
      // In float32, as the models were trained.
      const float angle = static_cast<float>(position) * turns[static_cast<size_t>(i)];
      to[i] = static_cast<float>(std::cos(static_cast<double>(angle))) * factor_;
      to[half() + i] = static_cast<float>(std::sin(static_cast<double>(angle))) * factor_;
    }
  }
}

}  // namespace anydraft::detail
