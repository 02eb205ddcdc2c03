#include "rows/chunks.h"

#include <algorithm>

#include "rows/kernels.h"

namespace anydraft::detail {
namespace {

// Inside a drafter token few tokens have mass: those its spellings go on with.
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

}  // namespace

ChunkView view_chunk(const Distribution& distribution, int64_t begin, int64_t end) {
  end = std::min(end, distribution.size);
  begin = std::min(begin, end);
  if (!distribution.map) return {distribution.row, distribution.dtype, begin, end};
  thread_local float buffer[kChunk];
  if (distribution.place && distribution.place->depth > 0) {
    return inner_chunk(distribution, begin, end, buffer);
  }
  const MapView map(distribution.map, distribution.size);
  const float lower = distribution.weighed ? distribution.weighed->lower : -INFINITY;
  kernels().gather({distribution.row, distribution.dtype, lower, distribution.merged},
                   map.to_draft + begin, end - begin, buffer);
  return {buffer, DType::kFloat32, 0, end - begin};
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
