// A drafter's row of logits read by target ids, entry by entry: what bridge/tli.h and bridge/slrs.h
// write out as whole rows, to the bit. Included by distribution.h.
#pragma once

#include "anydraft/detail/distribution.h"

namespace anydraft::detail {

// A map as Distribution::map points to it: [groups], to_draft [target ids], starts [groups + 1]
// into ids, ids. to_draft holds the one drafter id that stands for a target id, kNoDrafterId, or -2
// - g for group g of several.
constexpr int32_t kNoDrafterId = -1;

struct MapView {
  const int32_t *to_draft, *starts, *ids;
  ANYDRAFT_HD MapView(const int32_t* map, int64_t size)
      : to_draft(map + 1), starts(to_draft + size), ids(starts + map[0] + 1) {}
};

// A map's target ids chunk by chunk, without those that nothing stands for, as a CPU reads them: a
// whole chunk at a time, packed.
struct MapChunks {
  const int32_t* starts;        // [chunks + 1] into ids
  const int32_t* ids;           // the drafter ids; of a group any
  const uint32_t* lines;        // [chunks * kChunk / kLanes] bit l: lane l holds one
  const int32_t* group_starts;  // [chunks + 1] into the next two
  const uint16_t* group_at;     // where among its chunk's packed entries a group stands
  const int32_t* groups;
};

// What pack_token_trie adds behind a map: [count], drafter ids [count] in the order of their
// spellings (kNoDrafterId: without a logit), starts [count + 1] into target tokens, those tokens.
struct DraftTokenTrieView {
  int32_t count;
  const int32_t *ids, *starts, *tokens;
  ANYDRAFT_HD DraftTokenTrieView(const int32_t* map, int64_t size) {
    const MapView view(map, size);
    const int32_t* begin = view.ids + view.starts[map[0]];
    count = *begin;
    ids = begin + 1;
    starts = ids + count;
    tokens = starts + count + 1;
  }
  ANYDRAFT_HD int32_t token_at(int32_t index, int32_t depth) const {  // -1: ends before
    const int32_t at = starts[index] + depth;
    return at < starts[index + 1] ? tokens[at] : -1;
  }
  // The first one at `place` whose next token is not below `token`.
  ANYDRAFT_HD int32_t first_from(TriePlace place, int32_t token) const {
    int32_t low = place.begin, high = place.end;
    while (low < high) {
      const int32_t middle = low + (high - low) / 2;
      if (token_at(middle, place.depth) < token) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
  ANYDRAFT_HD TriePlace root() const { return {0, count, 0}; }
  ANYDRAFT_HD TriePlace next(TriePlace place, int32_t token) const {
    const int32_t begin = first_from(place, token);
    return {begin, first_from({begin, place.end, place.depth}, token + 1), place.depth + 1};
  }
};

// log2 of a normal positive number, within 1e-15: the same bits on every device.
ANYDRAFT_HD inline double log2_of(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  // x = m * 2^exponent with m in [sqrt(1/2), sqrt(2)).
  const int64_t exponent = static_cast<int64_t>(bits - 0x3fe6a09e667f3bcdu) >> 52;
  bits -= static_cast<uint64_t>(exponent) << 52;
  double m;
  memcpy(&m, &bits, sizeof m);
  const double s = (m - 1) / (m + 1), z = s * s;  // z < 0.0295: log(m) = 2 atanh(s)
  double sum = 1.0 / 19;
  sum = sum * z + 1.0 / 17;
  sum = sum * z + 1.0 / 15;
  sum = sum * z + 1.0 / 13;
  sum = sum * z + 1.0 / 11;
  sum = sum * z + 1.0 / 9;
  sum = sum * z + 1.0 / 7;
  sum = sum * z + 1.0 / 5;
  sum = sum * z + 1.0 / 3;
  sum = sum * z + 1.0;
  return 2.8853900817779268 * s * sum + static_cast<double>(exponent);
}

// log2 of a positive normal number, within 7e-8. A polynomial without a division: rows have a
// logarithm for each of many thousand sums.
ANYDRAFT_HD inline float short_log2(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  // x = (1 + f) * 2^exponent with 1 + f in [sqrt(1/2), sqrt(2)).
  const int32_t exponent = static_cast<int32_t>(bits - 0x3f3504f3u) >> 23;
  bits -= static_cast<uint32_t>(exponent) << 23;
  float f;
  memcpy(&f, &bits, sizeof f);
  f -= 1;
  float sum = 0.12541121f;
  sum = sum * f - 0.21030293f;
  sum = sum * f + 0.21737966f;
  sum = sum * f - 0.23851950f;
  sum = sum * f + 0.28765666f;
  sum = sum * f - 0.36072120f;
  sum = sum * f + 0.48092252f;
  sum = sum * f - 0.72134715f;
  sum = sum * f + 1.4426949f;
  return sum * f + static_cast<float>(exponent);
}

// Masses are summed by group in four parts of a row, which threads take, and these in turn. The
// part that an id is in.
constexpr int kMassParts = 4;
ANYDRAFT_HD inline int mass_part(int64_t id, int64_t size) {
  return static_cast<int>(id * kMassParts / size);
}

// The logit, at `scale`, of the summed mass of the entries with these ids; greedy (scale 0) of the
// largest alone. NaN or +inf where one is.
ANYDRAFT_HD inline float merged_logit(const void* row, DType dtype, const int32_t* ids,
                                      int32_t count, float scale) {
  float largest = -INFINITY;
  for (int32_t i = 0; i < count; ++i) {
    const float x = load(row, dtype, ids[i]);
    if (!(x < INFINITY)) return x;
    if (x > largest) largest = x;
  }
  if (!(scale > 0) || largest == -INFINITY) return largest;
  double sum = 0;
  for (int32_t i = 0; i < count; ++i) {
    const float below = load(row, dtype, ids[i]) - largest;
    if (!(below >= -1000 / scale)) continue;
    const Power power = power_of(below, scale);
    sum += static_cast<double>(power.fraction) * two_to(power.exponent);
  }
  return static_cast<float>(largest + log2_of(sum) / static_cast<double>(scale));
}

// The logit of a mass of a distribution, at the distribution's own temperature.
ANYDRAFT_HD inline float logit_of(const Distribution& distribution, double mass) {
  // Normal: a mass is at least 2^-124 of the total's inverse.
  const auto relative = static_cast<float>(mass * (1 / distribution.inverse_total));
  if (!(relative > 0)) return -INFINITY;
  const double power = static_cast<double>(short_log2(relative)) + distribution.exponent;
  return static_cast<float>(power * (1 / static_cast<double>(distribution.scale)));
}

ANYDRAFT_HD inline Distribution distribution_from(const RowDistribution& distribution,
                                                  const void* row, DType dtype, int64_t size) {
  return {row,
          dtype,
          size,
          distribution.one_hot,
          distribution.scale,
          distribution.lower,
          distribution.exponent,
          distribution.inverse_total};
}

// The likeliest of the drafter ids that stand for a target id, the first of equals; -1: none.
ANYDRAFT_HD inline int32_t likeliest_id(const Distribution& distribution, int64_t token) {
  const MapView map(distribution.map, distribution.size);
  const int32_t id = map.to_draft[token];
  if (id >= kNoDrafterId) return id;
  int32_t best = kNoDrafterId;
  float largest = -INFINITY;
  for (int32_t i = map.starts[-2 - id]; i < map.starts[-1 - id]; ++i) {
    const float x = load(distribution.row, distribution.dtype, map.ids[i]);
    if (best < 0 || x > largest) largest = x, best = map.ids[i];
  }
  return best;
}

// The drafter's own distribution behind a projected one.
ANYDRAFT_HD inline Distribution weighed_distribution(const Distribution& distribution) {
  return distribution_from(*distribution.weighed, distribution.row, distribution.dtype,
                           distribution.size);
}
// Its masses. Not mass(), which comes back here: of functions that call one another in a circle,
// the CUDA compiler does not know how much stack a kernel needs.
ANYDRAFT_HD inline double weighed_mass(const Distribution& own, int64_t id) {
  if (own.one_hot >= 0) return id == own.one_hot ? 1.0 : 0.0;
  return mass_of_logit(own, load(own.row, own.dtype, id));
}

// psi given what was spelt of a drafter token: DraftTokenTrie::psi of bridge/slrs.h.
ANYDRAFT_HD inline float inner_logit(const Distribution& distribution, int32_t token) {
  const DraftTokenTrieView token_trie(distribution.map, distribution.size);
  const TriePlace at = *distribution.place;
  if (at.begin >= at.end || token < token_trie.token_at(at.begin, at.depth) ||
      token > token_trie.token_at(at.end - 1, at.depth)) {
    return -INFINITY;
  }
  const Distribution own = weighed_distribution(distribution);
  double sum = 0;
  for (int32_t i = token_trie.first_from(at, token);
       i < at.end && token_trie.token_at(i, at.depth) == token; ++i) {
    if (token_trie.ids[i] >= 0) sum += weighed_mass(own, token_trie.ids[i]);
  }
  return logit_of(own, sum);
}

ANYDRAFT_HD inline float projected_logit(const Distribution& distribution, int64_t token) {
  if (distribution.place && distribution.place->depth > 0)
    return inner_logit(distribution, static_cast<int32_t>(token));
  const MapView map(distribution.map, distribution.size);
  const int32_t id = map.to_draft[token];
  if (id == kNoDrafterId) return -INFINITY;
  if (id < 0 && distribution.merged) return distribution.merged[-2 - id];
  if (!distribution.weighed) {
    if (id >= 0) return load(distribution.row, distribution.dtype, id);
    const int32_t first = map.starts[-2 - id];
    return merged_logit(distribution.row, distribution.dtype, map.ids + first,
                        map.starts[-1 - id] - first, distribution.scale);
  }
  const Distribution own = weighed_distribution(distribution);
  if (id >= 0) {
    const float x = load(distribution.row, distribution.dtype, id);
    return x >= own.lower ? x : -INFINITY;
  }
  double sum = 0, of_part = 0;
  int part = 0;
  for (int32_t i = map.starts[-2 - id]; i < map.starts[-1 - id]; ++i) {
    const int here = mass_part(map.ids[i], own.size);
    if (here != part) sum += of_part, of_part = 0, part = here;
    of_part += weighed_mass(own, map.ids[i]);
  }
  return logit_of(own, sum + of_part);
}

}  // namespace anydraft::detail
