#include <algorithm>

#include "vocab/models.h"
#include "vocab/unicode.h"

namespace anydraft::detail {
namespace {

constexpr uint32_t kUnreached = 0xFFFFFFFF;

// Takes a token that ends at `node` if it is the first to get there, or better than the others.
// The sum is compared before it is rounded, as the owners do.
void offer(Scratch::Node& node, double score, uint32_t id, uint32_t from, bool single) {
  if (node.from != kUnreached && !(score > node.score)) return;
  node = {single ? static_cast<float>(score) : score, id, from};
}

void forward(const Tables& t, std::string_view piece, double score, Scratch& scratch) {
  const EncoderConfig& config = t.config[0];
  const bool single = config.single_precision;
  auto& nodes = scratch.nodes;
  nodes.assign(piece.size() + 1, {0, 0, kUnreached});
  nodes[0].score = score;
  for (size_t at = 0; at < piece.size();) {
    const double here = nodes[at].score;
    const char* start = piece.data() + at;
    const size_t length = next_character(start) - start;
    bool spelled = false;
    uint32_t node = 0;
    for (size_t stop = at; stop < piece.size();) {
      node = child(t.words, node, static_cast<uint8_t>(piece[stop++]));
      if (node == kNoId) break;
      const uint32_t id = t.words.values[node];
      if (id == kNoId) continue;
      spelled |= stop - at == length;
      offer(nodes[stop], t.scores[id] + here, id, static_cast<uint32_t>(at), single);
    }
    if (!spelled) {
      const double sum = config.unk_score + here;
      offer(nodes[at + length], single ? static_cast<float>(sum) : sum, kNoId,
            static_cast<uint32_t>(at), single);
    }
    at += length;
  }
}

}  // namespace

void encode_unigram(const Tables& t, std::string_view piece, double& score, Scratch& scratch,
                    TokenIds& ids) {
  const EncoderConfig& config = t.config[0];
  forward(t, piece, score, scratch);
  score = scratch.nodes[piece.size()].score;
  TokenIds& path = scratch.path;  // from the end: ids, or for unknown characters their bytes
  path.clear();
  bool unknown = false;
  for (size_t end = piece.size(); end > 0;) {
    const Scratch::Node& node = scratch.nodes[end];
    if (node.id != kNoId) {
      path.push_back(static_cast<int32_t>(node.id));
      unknown = false;
    } else if (config.byte_fallback) {
      for (size_t i = end; i > node.from; --i) {
        path.push_back(static_cast<int32_t>(t.byte_ids[static_cast<uint8_t>(piece[i - 1])]));
      }
    } else {
      if (!(unknown && config.fuse_unk)) path.push_back(static_cast<int32_t>(config.unk_id));
      unknown = true;
    }
    end = node.from;
  }
  ids.insert(ids.end(), path.rbegin(), path.rend());
}

}  // namespace anydraft::detail
