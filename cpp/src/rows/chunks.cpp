#include "rows/chunks.h"

#include <algorithm>

#include "rows/kernels.h"
#include "rows/sweeps.h"

namespace anydraft::detail {
namespace {

// Inside a drafter token few tokens have mass: those that its bytes may go on with.
ChunkView inner_chunk(const Distribution& distribution, int64_t begin, int64_t end, float* out) {
  const DraftTokenTrieView token_trie(distribution.map, distribution.size);
  const TriePlace place = *distribution.place;
  int32_t at = token_trie.first_from(place, static_cast<int32_t>(begin));
  const auto token_at = [&] {
    return at < place.end ? int64_t{token_trie.token_at(at, place.depth)} : end;
  };
  if (token_at() >= end) return {out, DType::kFloat32, 0, 0};
  std::fill(out, out + (end - begin), -INFINITY);
  const Distribution own = weighed_distribution(distribution);
  while (token_at() < end) {
    const int64_t token = token_at();
    double sum = 0;
    for (; token_at() == token; ++at) {
      if (token_trie.ids[at] >= 0) sum += weighed_mass(own, token_trie.ids[at]);
    }
    out[token - begin] = logit_of(own, sum);
  }
  return {out, DType::kFloat32, 0, end - begin};
}

// Room for what is packed of a chunk, and for the line that expanding reads behind it.
struct Packed {
  float entries[kChunk + kLanes];
};

Packed& packed_of_thread() {
  thread_local Packed packed;
  return packed;
}

bool is_inner(const Distribution& distribution) {
  return distribution.place && distribution.place->depth > 0;
}

int64_t lines_of(int64_t begin, int64_t end) { return (end - begin + kLanes - 1) / kLanes; }

const uint32_t* lines_at(const MapChunks& map, int64_t begin) { return map.lines + begin / kLanes; }

ChunkView packed_entries(const Distribution& distribution, int64_t begin) {
  const MapChunks& map = *distribution.chunks;
  const int64_t chunk = begin / kChunk;
  float* out = packed_of_thread().entries;
  const int32_t first = map.starts[chunk], count = map.starts[chunk + 1] - first;
  const float lower = distribution.weighed ? distribution.weighed->lower : -INFINITY;
  kernels().gather(distribution.row, distribution.dtype, map.ids + first, count, lower, out);
  for (int32_t i = map.group_starts[chunk]; i < map.group_starts[chunk + 1]; ++i)
    out[map.group_at[i]] = distribution.merged[map.groups[i]];
  return {out, DType::kFloat32, 0, count};
}

// 2^(scale * x - exponent) of the packed entries in their place; the total is not that of the
// chunk.
ChunkScan packed_terms(const Distribution& distribution, int64_t begin, float lower,
                       int32_t exponent) {
  const ChunkView packed = packed_entries(distribution, begin);
  float* terms = packed_of_thread().entries;
  return kernels().scan(terms, DType::kFloat32, 0, packed.end, distribution.scale, lower, exponent,
                        terms);
}

}  // namespace

bool is_packed(const Distribution& distribution) {
  return distribution.map && !is_inner(distribution);
}

ChunkView any_order(const Distribution& distribution, int64_t begin, int64_t end) {
  if (is_packed(distribution)) return packed_entries(distribution, begin);
  return view_chunk(distribution, begin, end);
}

ChunkView view_chunk(const Distribution& distribution, int64_t begin, int64_t end) {
  end = std::min(end, distribution.size);
  begin = std::min(begin, end);
  if (!distribution.map) return {distribution.row, distribution.dtype, begin, end};
  thread_local float buffer[kChunk];
  if (is_inner(distribution)) return inner_chunk(distribution, begin, end, buffer);
  const ChunkView packed = packed_entries(distribution, begin);
  if (packed.end == 0) return {buffer, DType::kFloat32, 0, 0};
  kernels().expand(packed_of_thread().entries, lines_at(*distribution.chunks, begin),
                   lines_of(begin, end), -INFINITY, buffer);
  return {buffer, DType::kFloat32, 0, end - begin};
}

ChunkScan scan_chunk(const Distribution& distribution, int64_t begin, int64_t end, float lower,
                     int32_t exponent, float* keep) {
  if (!is_packed(distribution)) {
    const ChunkView view = view_chunk(distribution, begin, end);
    return kernels().scan(view.row, view.dtype, view.begin, view.end, distribution.scale, lower,
                          exponent, keep);
  }
  ChunkScan scan = packed_terms(distribution, begin, lower, exponent);
  const uint32_t* lines = lines_at(*distribution.chunks, begin);
  const float* terms = packed_of_thread().entries;
  scan.total = kernels().expanded_sum(terms, lines, lines_of(begin, end));
  if (keep) kernels().expand(terms, lines, lines_of(begin, end), 0, keep);
  return scan;
}

bool keep_terms(const Distribution& distribution, int64_t begin, int64_t end, float* out) {
  if (is_packed(distribution)) {
    const float largest =
        packed_terms(distribution, begin, distribution.lower, distribution.exponent).largest;
    if (!(largest >= distribution.lower)) return false;
    kernels().expand(packed_of_thread().entries, lines_at(*distribution.chunks, begin),
                     lines_of(begin, end), 0, out);
    return true;
  }
  const ChunkView view = view_chunk(distribution, begin, end);
  Distribution flat = distribution;
  flat.row = view.row;
  flat.dtype = view.dtype;
  sweeps().keep(flat, view.begin, view.end, out);
  return view.begin < view.end;
}

void masses_of(const Distribution& distribution, int64_t begin, int64_t end, double* out) {
  if (distribution.one_hot >= 0) {
    std::fill(out, out + (end - begin), 0.0);
    if (distribution.one_hot >= begin && distribution.one_hot < end)
      out[distribution.one_hot - begin] = 1;
    return;
  }
  const ChunkView chunk = view_chunk(distribution, begin, end);
  Distribution flat = distribution;
  flat.row = chunk.row;
  flat.dtype = chunk.dtype;
  kernels().masses(flat, chunk.begin, chunk.end, out);
  std::fill(out + (chunk.end - chunk.begin), out + (end - begin), 0.0);
}

}  // namespace anydraft::detail
