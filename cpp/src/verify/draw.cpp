#include <algorithm>
#include <cmath>

#include "anydraft/detail/draws.h"
#include "anydraft/draft.h"
#include "anydraft/error.h"
#include "rows/draft_rows.h"
#include "rows/picks.h"
#include "sampling/normalise.h"

namespace anydraft {
namespace {

using detail::Distribution;
using detail::kChunk;

// Of a distribution and what its reading left behind.
class KeyedDrawer {
 public:
  KeyedDrawer(const Distribution& distribution, const detail::RowReading& reading, RandomKey key)
      : distribution_(distribution), reading_(reading), key_(key) {}

  int32_t pick(const int32_t* without, int32_t count, int32_t child) {
    const int32_t* end = without + count;
    if (distribution_.one_hot >= 0) {
      return std::find(without, end, distribution_.one_hot) == end ? distribution_.one_hot : -1;
    }
    const auto masses_of = [&](int64_t from, int64_t to, double* out) {
      detail::masses_of(distribution_, from, to, out);
      for (const int32_t* id = without; id != end; ++id) {
        if (*id >= from && *id < to) out[*id - from] = 0;
      }
    };
    left_ = reading_.totals;
    for (const int32_t* id = without; id != end; ++id) {
      const int64_t chunk = *id / kChunk, from = chunk * kChunk;
      const int64_t to = std::min<int64_t>(from + kChunk, distribution_.size);
      double masses[kChunk];
      masses_of(from, to, masses);
      // Back to the scale of the other totals.
      left_[chunk] = detail::fold(masses, to - from) / distribution_.inverse_total;
    }
    double sum = 0;
    for (double total : left_) sum += total;
    if (!(sum > 0)) return -1;
    RandomKey key = key_;
    key.node += static_cast<uint32_t>(child);
    return detail::pick_from(distribution_.size, left_, uniform(key), masses_of);
  }

  int32_t likeliest(int32_t rank) {
    const int32_t token = highest(rank);
    return token >= 0 && mass(distribution_, token) > 0 ? token : -1;
  }

  // Ranks come in order.
  int32_t highest(int32_t rank) {
    if (rank == 0 && distribution_.one_hot >= 0) return distribution_.one_hot;
    if (chunk_max_.empty()) chunk_max_ = reading_.maxima;
    while (static_cast<int32_t>(found_.size()) <= rank) {
      const auto best = std::max_element(chunk_max_.begin(), chunk_max_.end());
      if (*best == -INFINITY) return -1;
      take_from(best - chunk_max_.begin());
    }
    return found_[rank];
  }

 private:
  // Moves the chunk's largest entry to found_.
  void take_from(int64_t chunk) {
    const detail::ChunkView view =
        detail::view_chunk(distribution_, chunk * kChunk, (chunk + 1) * kChunk);
    int32_t token = -1;
    float second = -INFINITY;
    for (int64_t at = view.begin; at < view.end; ++at) {
      const float x = detail::load(view.row, view.dtype, at);
      const auto id = static_cast<int32_t>(chunk * kChunk + at - view.begin);
      if (std::find(found_.begin(), found_.end(), id) != found_.end()) continue;
      if (token < 0 && x == chunk_max_[chunk]) {
        token = id;
      } else {
        second = std::max(second, x);
      }
    }
    found_.push_back(token);
    chunk_max_[chunk] = second;
  }

  const Distribution& distribution_;
  const detail::RowReading& reading_;
  RandomKey key_;
  std::vector<double> left_;
  std::vector<float> chunk_max_;  // of the entries not in found_
  std::vector<int32_t> found_;
};

detail::RowReading& reading_of_thread() {
  thread_local detail::RowReading reading;
  return reading;
}

void check_kind(ProposalKind kind) {
  if (kind != ProposalKind::kSparse) return;
  throw Error(ErrorKind::kValue, "[draft] expected a kind of distribution over a row, got sparse");
}

}  // namespace

int32_t draw_children(ProposalKind kind, const RowsView& rows, int64_t index,
                      const SamplingParams& params, int32_t width, RandomKey key, int32_t* out) {
  check_kind(kind);
  detail::RowReading& reading = reading_of_thread();
  const Distribution distribution = detail::distribution_of(rows.at(index), params, &reading);
  KeyedDrawer drawer(distribution, reading, key);
  return detail::draw_children(drawer, kind, width, out);
}

int32_t draw_children(ProposalKind kind, DraftRow& row, const SamplingParams& params, int32_t width,
                      RandomKey key, int32_t* out) {
  check_kind(kind);
  detail::RowReading& reading = reading_of_thread();
  row.known.reset();
  Distribution distribution = detail::unread_row(row);
  if (!detail::normalise(distribution, params, row.logits.name, &reading, nullptr)) return 0;
  row.known = detail::known_of(distribution);
  KeyedDrawer drawer(distribution, reading, key);
  return detail::draw_children(drawer, kind, width, out);
}

}  // namespace anydraft
