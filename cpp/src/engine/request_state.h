// One request on its way: drafting, then verification, round after round.
#pragma once

#include <exception>
#include <vector>

#include "anydraft/engine.h"
#include "anydraft/verify.h"
#include "draft/cached.h"
#include "draft/drafts_to_verify.h"
#include "rows/row_backend.h"

namespace anydraft {

class Engine::RequestState {
 public:
  // Keeps references. `id`: the drafter's.
  RequestState(Drafter& drafter, const EngineOptions& options, int64_t id, Request request);

  // Starts the next round where one is due, of a call that serves `together` requests; may throw
  // what an encoder throws, and be called again.
  void prepare(int64_t together);
  bool drafting() const { return finish == Finish::kNot && drafter_.waits(id_); }
  bool verifying() const { return finish == Finish::kNot && !drafter_.waits(id_); }
  Feed target_feed() const;
  // Whether a feed can be that of target_feed(), and is not one of an earlier round.
  bool waits_for(const Feed& feed) const;
  // The tree with its rows [first, ...), to be judged: what the round will keep, or why it cannot
  // be. Commits nothing, so a bad row loses nothing. Of several requests at once, each on a thread.
  Judgement& question(const RowsView& rows, int64_t first, const RowBackend& backend);
  bool changes_rows() const { return request_.changes.any(); }
  void commit();  // of what was judged; throws its error
  void target_failed() { target_.cut(target_.chain); }
  void fail(std::exception_ptr why);
  void resume();

  std::vector<Emitted> emitted;
  std::vector<TokenLogprobs> logprobs;
  Finish finish = Finish::kNot;
  std::exception_ptr error;  // kError: what it was
  Stats stats() const;

 private:
  void finish_if_full();
  int64_t remaining() const;
  RowsView changed(const RowsView& rows, const DraftTree& tree);
  TokenIds kept_tokens() const;
  void emit(const TokenIds& tokens);

  Drafter& drafter_;
  const EngineOptions& options_;
  const int64_t id_;
  const Request request_;
  TokenIds committed_;
  Cached target_;  // committed tokens in the target's cache
  Stats counts_;
  bool prepared_ = false;
  // Of the round that is judged: its rows as they were drawn from, and what came of it.
  RowsView rows_;
  std::vector<float> changed_;
  DraftsToVerify drafts_;
  uint32_t position_ = 0;
  Judgement judgement_;
};

}  // namespace anydraft
