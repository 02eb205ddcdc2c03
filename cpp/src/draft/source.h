// How a request's drafts come about: one object a request, one class a kind of source.
#pragma once

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "anydraft/drafter.h"
#include "bridge/projection.h"
#include "bridge/slrs.h"
#include "draft/policy.h"
#include "rows/row_backend.h"

namespace anydraft {

struct Pair {
  std::shared_ptr<const Vocabulary> target, drafter;
  std::shared_ptr<const VocabularyMap> map;          // bridges across vocabularies
  std::shared_ptr<const DraftTokenTrie> token_trie;  // SLRS
  DrafterOptions options;
  // Keyed by projection()'s arguments.
  mutable std::map<std::pair<bool, int64_t>, std::unique_ptr<const Projection>> projections;

  // How drafter rows of `draft_vocab` columns are read by target ids; kept once made. `spelt`: as
  // string-level rejection sampling does.
  const ProjectionView& projection(bool spelt, int64_t draft_vocab) const;

  bool across() const { return info_of(options.bridge).across; }
  // Logits past the table (padding) are nobody's tokens.
  RowView drafter_row(const RowsView& rows, int64_t index) const {
    RowView row = rows.at(index);
    row.cols = std::min<int64_t>(row.cols, (across() ? drafter : target)->size());
    return row;
  }
  // Of drafts that are drawn.
  Verifier verifier() const { return options.verifier.value_or(Verifier::kTraversal); }
  // Equal siblings are one node with several paths.
  bool merges() const { return traits_of(verifier()).shape == DraftShape::kPaths; }
};

class DraftSource {
 public:
  virtual ~DraftSource() = default;

  // Begins a round below the committed text, at most `remaining` tokens deep; nothing of a round
  // before remains. May throw what an encoder throws, and be called again.
  virtual void start(const TokenIds& committed, int64_t remaining) = 0;
  virtual bool wants_model() const { return false; }
  virtual Feed feed() const { return {}; }
  // Whether a feed can be that of feed(), and is not one of an earlier call: take() reads its rows.
  virtual bool waits_for(const Feed&) const { return false; }
  // What take() will ask of the rows, as far as that is certain: for rows that are not in
  // memory.
  virtual void plan(const RowsView&, int64_t, std::vector<DrawTask>&) {}
  // The rows of the last feed(), from `first` on. Where reading a row throws, the same rows may be
  // taken again; where an encoder throws, the draft ends with what it has.
  virtual void take(const RowsView&, int64_t, RowBackend&) {}
  // Drafter::settle.
  virtual void settle(const TokenIds&, const std::vector<int32_t>&, const RowsView*) {}
  virtual void failed() {}  // a feed may have been carried out in part

  virtual const Draft& draft() const = 0;
};

// For the pair's bridge; the references must outlive it. `policy`: null where lengths are fixed.
std::unique_ptr<DraftSource> make_source(const Pair& pair, const DraftRequest& request,
                                         DraftStats& stats, DraftPolicy* policy);
std::unique_ptr<DraftSource> make_text_source(const Pair& pair, DraftPolicy* policy);
std::unique_ptr<DraftSource> make_auto_source(const Pair& pair, const DraftRequest& request,
                                              DraftStats& stats, DraftPolicy* policy);

// Whether rows are those of the feeds; throws Error(kValue) by the name of `who`.
void check_shape(const char* who, const char* model, const std::vector<Feed>& feeds,
                 const RowsView& logits);

// The shape a round may have: no deeper than `remaining`.
TreeShape shape_for(const DrafterOptions& options, int64_t remaining);

}  // namespace anydraft
