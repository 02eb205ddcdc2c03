#include "bridge/projection.h"

#include <algorithm>

#include "bridge/packed_map.h"

namespace anydraft {

Projection::Projection(const VocabularyMap& map, int64_t target_vocab, int64_t draft_vocab)
    : packed_(pack_map(map, target_vocab, draft_vocab)),
      view_{packed_.data(), target_vocab, draft_vocab, false, {}} {
  cut_into_chunks();
}

Projection::Projection(const DraftTokenTrie& token_trie, int64_t draft_size, int64_t target_vocab,
                       int64_t draft_vocab)
    : packed_(pack_token_trie(token_trie, draft_size, target_vocab, draft_vocab)),
      view_{packed_.data(), target_vocab, draft_vocab, true, {}} {
  cut_into_chunks();
  order_groups();
}

void Projection::cut_into_chunks() {
  const detail::MapView map(view_.map, view_.vocab);
  lines_.assign(detail::chunks_of(view_.vocab) * (detail::kChunk / detail::kLanes), 0);
  for (int64_t token = 0; token < view_.vocab; ++token) {
    if (token % detail::kChunk == 0) end_chunk();
    const int32_t id = map.to_draft[token];
    if (id == detail::kNoDrafterId) continue;
    lines_[token / detail::kLanes] |= uint32_t{1} << (token % detail::kLanes);
    if (id < 0) {
      group_at_.push_back(static_cast<uint16_t>(ids_.size() - starts_.back()));
      groups_.push_back(-2 - id);
    }
    ids_.push_back(std::max(id, 0));
  }
  end_chunk();
  view_.map_size = static_cast<int64_t>(packed_.size());
  view_.chunks = {starts_.data(),       ids_.data(),      lines_.data(),
                  group_starts_.data(), group_at_.data(), groups_.data()};
}

void Projection::end_chunk() {
  starts_.push_back(static_cast<int32_t>(ids_.size()));
  group_starts_.push_back(static_cast<int32_t>(groups_.size()));
}

// A row is then weighed from its first entry to its last, and not gathered.
void Projection::order_groups() {
  const detail::MapView map(view_.map, view_.vocab);
  for (int32_t group = 0; group < view_.map[0]; ++group) {
    for (int32_t at = map.starts[group]; at < map.starts[group + 1]; ++at)
      grouped_.push_back({map.ids[at], group});
  }
  std::sort(grouped_.begin(), grouped_.end(), [](GroupedId a, GroupedId b) { return a.id < b.id; });
  view_.grouped = grouped_.data();
  view_.grouped_count = static_cast<int64_t>(grouped_.size());
}

}  // namespace anydraft
