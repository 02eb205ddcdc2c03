#include "rows/draft_rows.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "anydraft/draft.h"
#include "anydraft/error.h"
#include "base/parallel.h"
#include "rows/kernels.h"
#include "sampling/normalise.h"
#include "sampling/row_sums.h"

namespace anydraft {
namespace {

using detail::Distribution;

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorKind::kValue, "[draft] expected " + what);
}

// The drafter's own row.
Distribution own_row(const DraftRow& row) {
  Distribution own = detail::unread_row(row.logits);
  own.size = row.projection->draft_vocab;
  return own;
}

Distribution own_distribution(const DraftRow& row) {
  Distribution own = own_row(row);
  detail::take_known(row.weighed, own);
  return own;
}

// Of what the drafter's tokens weigh, `masses`, by the target token they spell first.
void merge_spelt(DraftRow& row, const detail::Fractions& masses) {
  const Distribution own = own_distribution(row);
  const GroupedId* first = row.projection->grouped;
  const auto groups = static_cast<int64_t>(row.merged.size());
  const double* sums =
      detail::group_masses(masses, own.size, first, first + row.projection->grouped_count, groups);
  detail::parallel_each_chunk(detail::chunks_of(groups), [&](int64_t chunk) {
    const int64_t begin = chunk * detail::kChunk;
    const int64_t count = std::min<int64_t>(detail::kChunk, groups - begin);
    detail::kernels().logits(own, sums + begin, count, row.merged.data() + begin);
  });
}

void merge_equal_ids(DraftRow& row, float scale) {
  const auto groups = static_cast<int32_t>(row.merged.size());
  const detail::MapView map(row.projection->map, row.projection->vocab);
  for (int32_t group = 0; group < groups; ++group) {
    const int32_t first = map.starts[group];
    row.merged[group] = detail::merged_logit(row.logits.data, row.logits.dtype, map.ids + first,
                                             map.starts[group + 1] - first, scale);
  }
}

}  // namespace

namespace detail {
namespace {

void add_masses(const Fractions& masses, const GroupedId* at, const GroupedId* last, double* sums) {
  while (at != last) {
    const int64_t chunk = at->id / kChunk, begin = chunk * kChunk;
    const float* of = masses.from(begin);
    const double scale = masses.scales[chunk];
    for (; at != last && at->id < begin + kChunk; ++at)
      sums[at->group] += of[at->id - begin] * scale;
  }
}

}  // namespace

const double* group_masses(const Fractions& masses, int64_t size, const GroupedId* first,
                           const GroupedId* last, int64_t groups) {
  thread_local std::vector<double> room;
  room.resize(std::max<size_t>(room.size(), kMassParts * groups));
  double* const sums = room.data();
  const GroupedId* bounds[kMassParts + 1] = {first};
  for (int part = 1; part <= kMassParts; ++part) {
    bounds[part] = std::partition_point(bounds[part - 1], last, [&](GroupedId at) {
      return at.id < size && mass_part(at.id, size) < part;
    });
  }
  parallel_in_row(kMassParts, last - first, [&](int64_t part) {
    std::fill_n(sums + part * groups, groups, 0.0);
    add_masses(masses, bounds[part], bounds[part + 1], sums + part * groups);
  });
  for (int part = 1; part < kMassParts; ++part) {
    for (int64_t group = 0; group < groups; ++group) sums[group] += sums[part * groups + group];
  }
  return sums;
}

float weigh(Distribution& row, int64_t name) {
  row.scale = scale_of(1);
  RowSums sums(row, name);
  sums.read_totals(nullptr);
  const float largest = sums.largest();
  if (largest == -INFINITY) fail_without_mass(name);
  SamplingParams params;
  params.temperature = resolving(largest, 1);
  if (params.temperature > 1) {
    normalise(row, params, name, nullptr, nullptr);
    return largest;
  }
  row.exponent = power_of(largest, row.scale).exponent;
  row.lower = lowest_logit(largest, row.scale);
  row.inverse_total = 1 / sums.total(row.lower, row.exponent);
  return largest;
}

Distribution weighed(const RowView& row, const SamplingParams& params) {
  if (!params.greedy()) return distribution_of(row, params);
  Distribution distribution = unread_row(row);
  weigh(distribution, row.name);
  return distribution;
}

}  // namespace detail

void prepare(DraftRow& row, const SamplingParams& params) {
  row.known.reset();
  if (!row.projection) return;
  const int64_t draft_vocab = row.projection->draft_vocab;
  if (row.logits.cols < draft_vocab) {
    fail("rows of at least " + std::to_string(draft_vocab) + " columns with this projection, got " +
         std::to_string(row.logits.cols));
  }
  Distribution own = own_row(row);
  const bool merges = !detail::is_inside(row);
  if (merges) row.merged.resize(row.projection->map[0]);
  if (!row.projection->spelt) {
    detail::RowSums(own, row.logits.name).read_maxima(nullptr);  // throws for what is not a number
    return merge_equal_ids(row, detail::scale_of(params.temperature));
  }
  thread_local detail::Fractions masses;
  if (params.greedy()) {
    detail::weigh(own, row.logits.name);
    if (merges) detail::keep_masses(own, masses);
  } else if (!detail::normalise(own, params, row.logits.name, nullptr,
                                merges ? &masses : nullptr)) {
    detail::fail_without_mass(row.logits.name);
  }
  row.weighed = detail::known_of(own);
  if (merges) merge_spelt(row, masses);
}

DraftRow inside(const DraftRow& row, TriePlace place) {
  DraftRow inner;
  inner.logits = row.logits;
  inner.projection = row.projection;
  inner.weighed = row.weighed;
  inner.place = place;
  return inner;
}

int32_t drafter_id(const DraftRow& row, int32_t token) {
  return row.projection ? detail::likeliest_id(detail::unread_row(row), token) : token;
}

Spelling spell(const DraftRow& row, int32_t token) {
  const detail::DraftTokenTrieView token_trie(row.projection->map, row.projection->vocab);
  const Distribution own = own_distribution(row);
  const TriePlace from = detail::is_inside(row) ? row.place : token_trie.root();
  Spelling spelling{token_trie.next(from, token), 0, 0};
  double largest = -1;
  for (int32_t i = spelling.place.begin; i < spelling.place.end; ++i) {
    const int32_t id = token_trie.ids[i];
    if (id < 0) continue;
    const double weight = detail::weighed_mass(own, id);
    if (token_trie.token_at(i, spelling.place.depth) >= 0) {
      spelling.goes_on += weight;
      continue;
    }
    spelling.ends += weight;
    if (weight > largest) largest = weight, spelling.drafter_id = id;
  }
  return spelling;
}

void likelihoods(const DraftRow& row, const int32_t* tokens, int32_t count, double* out) {
  Distribution distribution = detail::unread_row(row);
  detail::weigh(distribution, row.logits.name);
  for (int32_t i = 0; i < count; ++i) out[i] = detail::mass(distribution, tokens[i]);
}

double confidence(const RowView& row) {
  Distribution distribution = detail::unread_row(row);
  const float largest = detail::weigh(distribution, row.name);
  return detail::mass_of_logit(distribution, largest);
}

}  // namespace anydraft
