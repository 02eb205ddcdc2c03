#include "vocab/double_array.h"

#include <algorithm>
#include <queue>
#include <string>
#include <vector>

#include "anydraft/error.h"
#include "vocab/table_builder.h"

namespace anydraft::detail {
namespace {

using Labels = std::vector<uint8_t>;
constexpr size_t kBlock = 256;  // the children of a node lie in one block

// Which units and bases are free; unit 0 is the root's, base 0 nobody's. Free units are a ring
// through 0, and only those of the last blocks are on it: what is left of the others is too little
// to be worth a look.
class Places {
 public:
  Places() {
    grow();
    taken_[0] = used_[0] = 1;
  }

  // A base that no other node has, where the units of all these children are free; they are taken.
  size_t base_for(const Labels& labels) {
    size_t looks = kLooks;
    for (size_t at = after_[0]; at != 0 && looks > 0; at = after_[at], --looks) {
      if (fits(at ^ labels[0], labels)) return take_all(at ^ labels[0], labels);
    }
    const size_t base = taken_.size();
    grow();
    return take_all(base, labels);
  }
  size_t size() const { return taken_.size(); }

 private:
  static constexpr size_t kLooks = 512, kOpenBlocks = 16;

  bool fits(size_t base, const Labels& labels) const {
    if (used_[base]) return false;
    for (uint8_t label : labels) {
      if (taken_[base ^ label]) return false;
    }
    return true;
  }
  size_t take_all(size_t base, const Labels& labels) {
    used_[base] = 1;
    for (uint8_t label : labels) take(base ^ label);
    return base;
  }
  void take(size_t at) {
    taken_[at] = 1;
    unlink(at);
  }
  void unlink(size_t at) {
    after_[before_[at]] = after_[at];
    before_[after_[at]] = before_[at];
    after_[at] = before_[at] = at;
  }
  void grow() {
    const size_t begin = taken_.size();
    for (auto* flags : {&taken_, &used_}) flags->resize(begin + kBlock);
    for (size_t at = begin; at < begin + kBlock; ++at) {
      const size_t last = at == 0 ? 0 : before_[0];
      after_.push_back(0);
      before_.push_back(last);
      after_[last] = before_[0] = at;
    }
    if (begin < kOpenBlocks * kBlock) return;
    const size_t closed = begin - kOpenBlocks * kBlock;
    for (size_t at = closed + (closed == 0); at < closed + kBlock; ++at) unlink(at);
  }

  std::vector<uint8_t> taken_, used_;
  std::vector<size_t> after_, before_;
};

struct Node {
  uint32_t lowest;           // id below it
  size_t begin, end, depth;  // the keys below it
  size_t place;

  bool operator<(const Node& other) const { return lowest > other.lowest; }
};

}  // namespace

void TableBuilder::keep_words(const std::map<std::string, uint32_t>& words) {
  const std::vector<std::pair<std::string_view, uint32_t>> entries(words.begin(), words.end());
  Places places;
  std::vector<uint64_t> units(kBlock);
  // Ids go by how common words are: nodes of common words lie together, in few cache lines.
  std::priority_queue<Node> queue;
  queue.push({0, 0, entries.size(), 0, 0});
  Labels labels;
  std::vector<size_t> begins;
  while (!queue.empty()) {
    Node node = queue.top();
    queue.pop();
    uint32_t word = 0;
    if (node.begin < node.end && entries[node.begin].first.size() == node.depth) {
      word = entries[node.begin++].second + 1;
    }
    labels.clear();
    begins.clear();
    for (size_t at = node.begin; at < node.end; ++at) {
      const uint8_t label = static_cast<uint8_t>(entries[at].first[node.depth]);
      if (!labels.empty() && labels.back() == label) continue;
      labels.push_back(label);
      begins.push_back(at);
    }
    begins.push_back(node.end);
    const size_t base = labels.empty() ? 0 : places.base_for(labels);
    units.resize(places.size());
    if (units.size() > kMostUnits) {
      throw Error(ErrorKind::kUnsupportedTokenizer,
                  "[Vocabulary] expected a model whose words take at most 2^23 nodes, got more");
    }
    uint32_t hint = 0;
    for (uint8_t each : labels) hint |= hint_of(each);
    units[node.place] = make_unit(word, hint, base, label_of(units[node.place]));
    for (size_t i = 0; i < labels.size(); ++i) {
      units[base ^ labels[i]] = make_unit(0, 0, 0, labels[i] + 1u);
      uint32_t lowest = kNoId;
      for (size_t at = begins[i]; at < begins[i + 1]; ++at) {
        lowest = std::min(lowest, entries[at].second);
      }
      queue.push({lowest, begins[i], begins[i + 1], node.depth + 1, base ^ labels[i]});
    }
  }
  keep(tables.words, std::move(units));
}

}  // namespace anydraft::detail
