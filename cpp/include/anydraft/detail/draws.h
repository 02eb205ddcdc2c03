// The children of one node by a draft distribution, written once: drawn with uniforms, or
// enumerated.
#pragma once

#include <cstdint>

#include "anydraft/verify.h"

namespace anydraft::detail {

// A Drawer plays one draft row. It offers
//   int32_t pick(without, count, child)   from the row without some tokens; -1: no mass is left
//   int32_t likeliest(rank)               by logit, ties to the lowest id; -1: no more with mass
//   int32_t highest(rank)                 the same whether they have mass or not
// Writes at most `width` tokens in verification order and returns their number.
template <class Drawer>
ANYDRAFT_HD int32_t draw_children(Drawer& draw, ProposalKind kind, int32_t width, int32_t* out) {
  int32_t count = 0;
  const auto add = [&](int32_t token) {
    if (token >= 0) out[count++] = token;
    return token >= 0;
  };
  switch (kind) {
    case ProposalKind::kOneHot:
      while (count < width && add(draw.highest(count))) continue;
      return count;
    case ProposalKind::kIid:
    case ProposalKind::kSparse:
      while (count < width && add(draw.pick(nullptr, 0, count))) continue;
      return count;
    case ProposalKind::kWithoutReplacement:
      while (count < width && add(draw.pick(out, count, count))) continue;
      return count;
    case ProposalKind::kSpecHub:
    case ProposalKind::kGreedyK:
      break;
  }
  if (width < 1) return 0;
  // Behind the first one, which is drawn from what the likeliest leave.
  if (kind == ProposalKind::kSpecHub && width > 2) width = 2;
  int32_t certain = 0;
  for (; certain < width - 1; ++certain) {
    const int32_t token = draw.likeliest(certain);
    if (token < 0) break;
    out[1 + certain] = token;
  }
  const int32_t first = draw.pick(out + 1, certain, 0);
  if (first >= 0) {
    out[0] = first;
    return certain + 1;
  }
  for (int32_t i = 0; i < certain; ++i) out[i] = out[i + 1];
  return certain;
}

}  // namespace anydraft::detail
