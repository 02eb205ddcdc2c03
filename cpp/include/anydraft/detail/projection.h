// A drafter's row of logits read by target ids, entry by entry: what bridge/tli.h and bridge/slrs.h
// write out as whole rows, to the bit. Included by law.h.
#pragma once

#include "anydraft/detail/law.h"

namespace anydraft::detail {

// A map as Law::map points to it: [groups], to_draft [target ids], starts [groups + 1] into ids,
// ids. to_draft holds the one drafter id that stands for a target id, kNoDrafterId, or -2 - g for
// group g of several.
constexpr int32_t kNoDrafterId = -1;

struct MapView {
  const int32_t *to_draft, *starts, *ids;
  ANYDRAFT_HD MapView(const int32_t* map, int64_t size)
      : to_draft(map + 1), starts(to_draft + size), ids(starts + map[0] + 1) {}
};

// What pack_spellings adds behind a map: [count], drafter ids [count] in the order of their
// spellings (kNoDrafterId: without a logit), starts [count + 1] into target tokens, those tokens.
struct SpellingsView {
  int32_t count;
  const int32_t *ids, *starts, *tokens;
  ANYDRAFT_HD SpellingsView(const int32_t* map, int64_t size) {
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
  ANYDRAFT_HD int32_t first_from(SpellingPlace place, int32_t token) const {
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
  ANYDRAFT_HD SpellingPlace root() const { return {0, count, 0}; }
  ANYDRAFT_HD SpellingPlace next(SpellingPlace place, int32_t token) const {
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

// The logit of a mass of a law, at the law's own temperature.
ANYDRAFT_HD inline float logit_of(const Law& law, double mass) {
  const double relative = mass / law.inverse_total;  // normal: a mass is at least 2^-124 of it
  if (!(relative > 0)) return -INFINITY;
  return static_cast<float>((log2_of(relative) + law.exponent) / law.scale);
}

ANYDRAFT_HD inline Law law_from(const RowLaw& law, const void* row, DType dtype, int64_t size) {
  return {row, dtype, size, law.one_hot, law.scale, law.lower, law.exponent, law.inverse_total};
}

// The likeliest of the drafter ids that stand for a target id, the first of equals; -1: none.
ANYDRAFT_HD inline int32_t likeliest_id(const Law& law, int64_t token) {
  const MapView map(law.map, law.size);
  const int32_t id = map.to_draft[token];
  if (id >= kNoDrafterId) return id;
  int32_t best = kNoDrafterId;
  float largest = -INFINITY;
  for (int32_t i = map.starts[-2 - id]; i < map.starts[-1 - id]; ++i) {
    const float x = load(law.row, law.dtype, map.ids[i]);
    if (best < 0 || x > largest) largest = x, best = map.ids[i];
  }
  return best;
}

// The drafter's own law behind a projected one.
ANYDRAFT_HD inline Law weighed_law(const Law& law) {
  return law_from(*law.weighed, law.row, law.dtype, law.size);
}
// Its masses. Not mass(), which comes back here: of functions that call one another in a circle,
// the CUDA compiler does not know how much stack a kernel needs.
ANYDRAFT_HD inline double weighed_mass(const Law& own, int64_t id) {
  if (own.one_hot >= 0) return id == own.one_hot ? 1.0 : 0.0;
  return mass_of_logit(own, load(own.row, own.dtype, id));
}

// psi given what was spelt of a drafter token: Spellings::psi of bridge/slrs.h.
ANYDRAFT_HD inline float inner_logit(const Law& law, int32_t token) {
  const SpellingsView spellings(law.map, law.size);
  const SpellingPlace at = *law.place;
  if (at.begin >= at.end || token < spellings.token_at(at.begin, at.depth) ||
      token > spellings.token_at(at.end - 1, at.depth)) {
    return -INFINITY;
  }
  const Law own = weighed_law(law);
  double sum = 0;
  for (int32_t i = spellings.first_from(at, token);
       i < at.end && spellings.token_at(i, at.depth) == token; ++i) {
    if (spellings.ids[i] >= 0) sum += weighed_mass(own, spellings.ids[i]);
  }
  return logit_of(own, sum);
}

ANYDRAFT_HD inline float projected_logit(const Law& law, int64_t token) {
  if (law.place && law.place->depth > 0) return inner_logit(law, static_cast<int32_t>(token));
  const MapView map(law.map, law.size);
  const int32_t id = map.to_draft[token];
  if (id == kNoDrafterId) return -INFINITY;
  if (!law.weighed) {
    if (id >= 0) return load(law.row, law.dtype, id);
    const int32_t first = map.starts[-2 - id];
    return merged_logit(law.row, law.dtype, map.ids + first, map.starts[-1 - id] - first,
                        law.scale);
  }
  const Law own = weighed_law(law);
  if (id >= 0) {
    const float x = load(law.row, law.dtype, id);
    return x >= own.lower ? x : -INFINITY;
  }
  double sum = 0;
  for (int32_t i = map.starts[-2 - id]; i < map.starts[-1 - id]; ++i) {
    sum += weighed_mass(own, map.ids[i]);
  }
  return logit_of(own, sum);
}

}  // namespace anydraft::detail
