#include <algorithm>

#include "vocab/models.h"
#include "vocab/unicode.h"

namespace anydraft::detail {
namespace {

constexpr uint32_t kUnreached = 0xFFFFFFFF;

// Takes a token that ends at `node` if it is the first to get there, or better than the others.
void offer(Scratch::Node& node, double score, uint32_t id, uint32_t from) {
  if (node.from == kUnreached || score > node.score) node = {score, id, from};
}

void forward(const Tables& t, std::string_view piece, double score, Scratch& scratch) {
  // SentencePiece adds in float: sums that tie there need not in double.
  const bool single = t.config[0].owner == Owner::kSentencePiece;
  const auto add = [single](double a, double b) {
    return single ? static_cast<float>(a) + static_cast<float>(b) : a + b;
  };
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
      offer(nodes[stop], add(t.scores[id], here), id, static_cast<uint32_t>(at));
    }
    if (!spelled) {
      offer(nodes[at + length], add(t.config[0].unk_score, here), kNoId, static_cast<uint32_t>(at));
    }
    at += length;
  }
}

// The last place that the best paths to every place from which a token may reach beyond `limit`
// have in common: no text after `limit` changes the path up to there.
size_t meeting_place(const std::vector<Scratch::Node>& nodes, size_t limit, size_t longest,
                     std::vector<uint64_t>& places) {
  places.clear();  // ascending
  for (size_t at = limit < longest ? 0 : limit - longest + 1; at <= limit; ++at) {
    if (at == 0 || nodes[at].from != kUnreached) places.push_back(at);
  }
  while (places.size() > 1) {
    const uint64_t from = nodes[places.back()].from;
    places.pop_back();
    const auto found = std::lower_bound(places.begin(), places.end(), from);
    if (found == places.end() || *found != from) places.insert(found, from);
  }
  return places.empty() ? 0 : places[0];
}

}  // namespace

void encode_unigram(const Tables& t, std::string_view piece, double& score, Scratch& scratch,
                    TokenIds& ids, Mark* mark) {
  const EncoderConfig& config = t.config[0];
  forward(t, piece, score, scratch);
  size_t meeting = 0, after = 0;  // and how many ids lie behind it
  if (mark != nullptr && mark->open && mark->limit > piece.data()) {
    meeting =
        meeting_place(scratch.nodes, mark->limit - piece.data(), config.longest, scratch.heap);
  }
  TokenIds& path = scratch.path;  // from the end: ids, or for unknown characters their bytes
  path.clear();
  bool unknown = false;
  for (size_t end = piece.size(); end > 0;) {
    if (end == meeting) after = path.size();
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
  score = scratch.nodes[piece.size()].score;
  if (meeting > 0) {
    mark->reach(piece.data() + meeting, ids.size() - after, scratch.nodes[meeting].score);
  }
}

}  // namespace anydraft::detail
