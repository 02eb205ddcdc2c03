#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

#include "anydraft/error.h"
#include "vocab/double_array.h"
#include "vocab/models.h"
#include "vocab/unicode.h"

namespace anydraft::detail {
namespace {

constexpr uint32_t kUnreached = 0xFFFFFFFF;

template <typename Score>
using Nodes = std::vector<Scratch::Node<Score>>;

// Viterbi, one start after the other. How many tokens begin at a start, and which of them are the
// best so far, is as good as random: so the next four ends are kept in registers, and nothing
// branches on tokens that reach no further. A step that finds none has the score minus infinity.
template <typename Score>
class Forward {
 public:
  Forward(const Tables& t, const Score* scores, bool exact, std::string_view piece, Score score,
          Nodes<Score>& nodes)
      : units_(t.words.data),
        scores_(scores),
        skipped_(exact ? t.flags.data : nullptr),
        text_(piece.data()),
        size_(piece.size()),
        unknown_(static_cast<Score>(t.config[0].unk_score)),
        nodes_(nodes) {
    nodes.assign(size_ + kNear + 1, {kNever, kUnreached, 0});
    nodes[0].score = score;
  }

  void run() {
    Scores best{kNever, kNever, kNever, kNever};
    Places from{kUnreached, kUnreached, kUnreached, kUnreached}, words{};
    Score here = nodes_[0].score;
    for (size_t at = 0, next = 0; at < size_; ++at) {
      if (at == next) {
        next = next_character(text_ + at) - text_;
        start(at, next - at, here, best, from, words);
      }
      // The first of the ends is settled, a fifth one comes in.
      auto& settled = nodes_[at + 1];
      const auto& entering = nodes_[at + 1 + kNear];
      here = settled.score = best[0];
      settled.from = static_cast<uint32_t>(from[0]);
      settled.word = static_cast<uint32_t>(words[0]);
      best = Scores{best[1], best[2], best[3], entering.score};
      from = Places{from[1], from[2], from[3], entering.from};
      words = Places{words[1], words[2], words[3], entering.word};
    }
  }

  static constexpr size_t kNear = 4;  // bytes: no less than a character's

 private:
  using Place = std::conditional_t<sizeof(Score) == 4, uint32_t, uint64_t>;
  typedef Score Scores __attribute__((vector_size(kNear * sizeof(Score))));
  typedef Place Places __attribute__((vector_size(kNear * sizeof(Score))));
  static constexpr Score kNever = -std::numeric_limits<Score>::infinity();

  void start(size_t at, size_t length, Score here, Scores& best, Places& from, Places& words) {
    char last[kNear] = {};
    const char* text = text_ + at;
    if (at + kNear > size_) text = static_cast<char*>(std::memcpy(last, text, size_ - at));
    const auto child = [&](uint64_t unit, size_t i) {
      return child_of(units_, unit, static_cast<uint8_t>(text[i]));
    };
    const uint64_t one = child(units_[0], 0), two = child(one, 1), three = child(two, 2),
                   four = child(three, 3);
    const Place w1 = word_of(one), w2 = word_of(two), w3 = word_of(three), w4 = word_of(four);
    const Places near{w1, w2, w3, w4};
    Scores found{scores_[w1], scores_[w2], scores_[w3], scores_[w4]};
    if (length == 1 ? w1 == 0 : near[length - 1] == 0) found[length - 1] = unknown_;
    found += here;
    const auto better = found > best;
    best = better ? found : best;
    from = better ? Places{} + static_cast<Place>(at) : from;
    words = better ? near : words;
    go_on(at, here, four);
  }

  void go_on(size_t at, Score here, uint64_t unit) {
    for (size_t stop = at + kNear; stop < size_;) {
      const uint8_t byte = static_cast<uint8_t>(text_[stop++]);
      if (!may_have(unit, byte)) return;
      unit = child_of(units_, unit, byte);
      if (unit == 0) return;
      const uint32_t word = word_of(unit);
      if (skipped_ != nullptr && word != 0 && (skipped_[word - 1] & kByteFallback)) continue;
      const Score score = here + scores_[word];
      auto& node = nodes_[stop];
      if (score > node.score) node = {score, static_cast<uint32_t>(at), word};
    }
  }

  const uint64_t* units_;
  const Score* scores_;
  const uint8_t*
      skipped_;  // [ids] flags: `<0x41>` is no such byte; null where the owner says it is
  const char* text_;
  const size_t size_;
  const Score unknown_;
  Nodes<Score>& nodes_;
};

// The last place that the best paths to every place from which a token may reach beyond `limit`
// have in common: no text after `limit` changes the path up to there.
template <typename Score>
size_t meeting_place(const Nodes<Score>& nodes, size_t limit, size_t longest,
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

bool in_bytes(const Tables& t, std::string_view character) {
  return std::all_of(character.begin(), character.end(),
                     [&](char c) { return t.byte_ids[static_cast<uint8_t>(c)] != kNoId; });
}

template <typename Score>
void encode(const Tables& t, const Score* scores, bool exact, std::string_view piece, double& score,
            Nodes<Score>& nodes, Scratch& scratch, TokenIds& ids, Mark* mark) {
  const EncoderConfig& config = t.config[0];
  Forward<Score>(t, scores, exact, piece, static_cast<Score>(score), nodes).run();
  size_t meeting = 0, after = 0;  // and how many ids lie behind it
  if (mark != nullptr && mark->open && mark->limit > piece.data()) {
    meeting = meeting_place(nodes, mark->limit - piece.data(), config.longest, scratch.heap);
  }
  TokenIds& path = scratch.path;  // from the end: ids, or for unknown characters their bytes
  path.clear();
  bool unknown = false;
  for (size_t end = piece.size(); end > 0;) {
    if (end == meeting) after = path.size();
    size_t from = nodes[end].from;
    // Sums beyond all numbers reach nothing.
    if (from == kUnreached) from = previous_character(piece.data() + end) - piece.data();
    const uint32_t word = nodes[end].word;
    if (word != 0) {
      path.push_back(static_cast<int32_t>(word - 1));
    } else if (config.byte_fallback && in_bytes(t, piece.substr(from, end - from))) {
      for (size_t i = end; i > from; --i) {
        path.push_back(static_cast<int32_t>(t.byte_ids[static_cast<uint8_t>(piece[i - 1])]));
      }
    } else if (!(unknown && config.fuse_unk)) {
      if (config.unk_id == kNoId) {
        throw Error(ErrorKind::kVocabulary,
                    "[Vocabulary] expected text of known characters, as there is no token for "
                    "others, got some");
      }
      path.push_back(static_cast<int32_t>(config.unk_id));
    }
    unknown = word == 0;
    end = from;
  }
  ids.insert(ids.end(), path.rbegin(), path.rend());
  score = nodes[piece.size()].score;
  if (meeting > 0) {
    mark->reach(piece.data() + meeting, ids.size() - after, nodes[meeting].score);
  }
}

}  // namespace

void encode_unigram(const Tables& t, std::string_view piece, bool exact, double& score,
                    Scratch& scratch, TokenIds& ids, Mark* mark) {
  // SentencePiece adds in float: sums that tie there need not in double.
  if (t.config[0].owner == Owner::kSentencePiece) {
    encode(t, t.scores_single.data, exact, piece, score, scratch.nodes_single, scratch, ids, mark);
  } else {
    encode(t, t.scores.data, exact, piece, score, scratch.nodes, scratch, ids, mark);
  }
}

}  // namespace anydraft::detail
