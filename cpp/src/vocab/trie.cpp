#include <deque>

#include "vocab/table_builder.h"

namespace anydraft::detail {
namespace {

using Entries = std::vector<std::pair<std::string_view, uint32_t>>;  // sorted by key

struct Node {
  size_t begin, end, depth;  // the keys below it
};

}  // namespace

// The root has all 256 children, so that it is indexed and not searched.
void TableBuilder::keep(Trie& to, const std::map<std::string, uint32_t>& map) {
  const Entries entries(map.begin(), map.end());
  std::vector<uint8_t> labels{0};
  std::vector<uint32_t> firsts, values{kNoId};
  std::deque<Node> queue{{0, entries.size(), 0}};
  const auto add = [&](uint8_t label, Node child) {
    const bool ends = child.begin < child.end && entries[child.begin].first.size() == child.depth;
    labels.push_back(label);
    values.push_back(ends ? entries[child.begin].second : kNoId);
    if (ends) ++child.begin;
    queue.push_back(child);
  };
  for (; !queue.empty(); queue.pop_front()) {
    Node node = queue.front();
    const bool root = firsts.empty();
    firsts.push_back(static_cast<uint32_t>(labels.size()));
    if (root && node.begin < node.end && entries[node.begin].first.empty()) ++node.begin;
    int next = 0;
    for (size_t at = node.begin; at < node.end;) {
      const int label = static_cast<uint8_t>(entries[at].first[node.depth]);
      size_t stop = at;
      while (stop < node.end && static_cast<uint8_t>(entries[stop].first[node.depth]) == label) {
        ++stop;
      }
      for (; root && next < label; ++next) add(static_cast<uint8_t>(next), {0, 0, 1});
      add(static_cast<uint8_t>(label), {at, stop, node.depth + 1});
      next = label + 1;
      at = stop;
    }
    for (; root && next < 256; ++next) add(static_cast<uint8_t>(next), {0, 0, 1});
  }
  firsts.push_back(static_cast<uint32_t>(labels.size()));
  keep(to.labels, std::move(labels));
  keep(to.firsts, std::move(firsts));
  keep(to.values, std::move(values));
}

}  // namespace anydraft::detail
