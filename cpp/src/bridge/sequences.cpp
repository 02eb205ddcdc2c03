#include "bridge/sequences.h"

#include <algorithm>
#include <cmath>

#include "anydraft/error.h"
#include "bridge/settled.h"
#include "rows/kernels.h"

namespace anydraft {
namespace {

constexpr int32_t kNone = -1, kUnread = -2;

}  // namespace

SequenceTrie::SequenceTrie(const Vocabulary& drafter, const Vocabulary& target,
                           const VocabularyMap& map, const DraftTokenTrie& token_trie,
                           const StopRule& rule)
    : drafter_(drafter),
      target_(target),
      map_(map),
      token_trie_(token_trie),
      rule_(rule),
      reader_(target) {}

void SequenceTrie::clear() { nodes_.assign(1, Node{}); }

int32_t SequenceTrie::find(const Sequence& sequence) const {
  if (sequence.token < 0) return sequence.node;
  int32_t node = sequence.node + 1;
  while (node < size() &&
         (nodes_[node].parent != sequence.node || nodes_[node].token != sequence.token)) {
    ++node;
  }
  return node;
}

void SequenceTrie::add(const Sequence& sequence) {
  Node node;
  node.parent = sequence.node;
  node.token = sequence.token;
  node.depth = nodes_[sequence.node].depth + 1;
  node.text = nodes_[sequence.node].text;
  node.text += drafter_.token_bytes(sequence.token);
  nodes_.push_back(std::move(node));
}

// Tokens without bytes or a role say nothing, and no sequence goes on with them.
void SequenceTrie::set_row(int32_t node, const detail::Distribution& distribution) {
  auto& row = nodes_[node].row;
  row.clear();
  double masses[detail::kChunk];
  const int64_t size = std::min<int64_t>(distribution.size, drafter_.size());
  for (int64_t begin = 0; begin < size; begin += detail::kChunk) {
    const int64_t end = std::min<int64_t>(begin + detail::kChunk, size);
    detail::kernels().masses(distribution, begin, end, masses);
    for (auto id = static_cast<int32_t>(begin); id < end; ++id) {
      const bool says =
          drafter_.is_special(id) ? map_.to_target[id] >= 0 : !drafter_.token_bytes(id).empty();
      if (masses[id - begin] > 0 && says) row.emplace_back(id, masses[id - begin]);
    }
  }
  if (node > 0 && static_cast<int32_t>(row.size()) > rule_.terms) {
    std::nth_element(row.begin(), row.begin() + rule_.terms, row.end(), [](auto a, auto b) {
      return a.second != b.second ? a.second > b.second : a.first < b.first;
    });
    row.resize(rule_.terms);
    std::sort(row.begin(), row.end());
  }
  nodes_[node].has_row = true;
}

bool SequenceTrie::ends(const Sequence& sequence) const {
  return sequence.token >= 0 && drafter_.is_special(sequence.token);
}

// Drafter tokens of the sequence that are not said in full.
int32_t SequenceTrie::pending(const Sequence& sequence) const {
  int32_t count = sequence.token >= 0;
  for (int32_t node = sequence.node; node > 0; node = nodes_[node].parent) {
    if (static_cast<int32_t>(nodes_[node].text.size()) <= sequence.said) break;
    ++count;
  }
  return count;
}

const std::string& SequenceTrie::rest(const Sequence& sequence) {
  rest_ = nodes_[sequence.node].text;
  if (sequence.token >= 0) rest_ += drafter_.token_bytes(sequence.token);
  rest_.erase(0, sequence.said);
  return rest_;
}

bool SequenceTrie::encode(const std::string& text) {
  reader_.clear();
  try {
    reader_.feed(text);
  } catch (const Error&) {
    return false;
  }
  return !reader_.ids().empty() && reader_.ends().back() == text.size();
}

// `text`, where it matters, has just been encoded.
bool SequenceTrie::by_rule(const Sequence& sequence, const std::string& text) const {
  if (rule_.tokens > 0) return pending(sequence) >= rule_.tokens;
  return detail::first_token_settled(target_, text, reader_);
}

bool SequenceTrie::stops(Sequence& sequence) {
  if (sequence.stopped >= 0) return sequence.stopped == 1;
  bool stopped = ends(sequence);
  if (!stopped && sequence.token >= 0) {
    const std::string& text = rest(sequence);
    stopped = !text.empty() && (rule_.tokens > 0 || encode(text)) && by_rule(sequence, text);
  }
  sequence.stopped = stopped;
  return stopped;
}

void SequenceTrie::append_continuations(const Sequence& sequence, Sequences& to) const {
  const int32_t node = find(sequence);
  for (const auto& [token, mass] : nodes_[node].row) {
    to.push_back({node, token, sequence.said, sequence.mass * mass});
  }
}

void SequenceTrie::read(Sequence& sequence) {
  if (sequence.first != kUnread) return;
  sequence.first = kNone;
  if (sequence.token >= 0 && sequence.node == 0 && sequence.said == 0) {
    sequence.first = token_trie_.first_of(sequence.token);
    if (rule_.tokens > 0) stops(sequence);
    return;
  }
  const std::string& text = rest(sequence);
  const bool last = ends(sequence);
  if (text.empty()) {
    if (last) sequence.first = map_.to_target[sequence.token];
    sequence.stopped = last;
    return;
  }
  if (!encode(text)) return;
  if (sequence.stopped < 0) sequence.stopped = last || by_rule(sequence, text);
  const int32_t first = reader_.ids()[0];
  const std::string_view bytes = target_.token_bytes(first);
  if (!bytes.empty() && text.compare(0, bytes.size(), bytes) == 0) sequence.first = first;
}

std::vector<float> SequenceTrie::psi(Sequences& sequences, int64_t width,
                                     float distribution_scale) {
  std::vector<double> sums(width, 0.0);
  for (Sequence& sequence : sequences) {
    read(sequence);
    if (sequence.first >= 0 && sequence.first < width) sums[sequence.first] += sequence.mass;
  }
  std::vector<float> logits(width, -INFINITY);
  for (int64_t token = 0; token < width; ++token) {
    if (sums[token] > 0)
      logits[token] = static_cast<float>(std::log2(sums[token]) / distribution_scale);
  }
  return logits;
}

Sequences SequenceTrie::said(const Sequences& sequences, int32_t token) const {
  Sequences left;
  double total = 0;
  const auto bytes = static_cast<int32_t>(target_.token_bytes(token).size());
  for (const Sequence& sequence : sequences) {
    if (sequence.first != token || bytes == 0) continue;
    left.push_back(sequence);
    left.back().said += bytes;
    left.back().first = kUnread;
    left.back().stopped = -1;
    total += sequence.mass;
  }
  for (Sequence& sequence : left) sequence.mass /= total;
  return left;
}

}  // namespace anydraft
