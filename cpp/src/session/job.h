// One request on its way: drafting, then verification, round after round.
#pragma once

#include <exception>
#include <memory>
#include <vector>

#include "anydraft/session.h"
#include "anydraft/verify.h"
#include "session/cached.h"
#include "session/draft_length.h"
#include "session/proposal.h"

namespace anydraft {

struct Session::Shared : Pair {};

struct Session::Job {
  Job(const Pair& pair, Request request);

  // Starts the next round where one is due; may throw what an encoder throws, and be called again.
  void prepare();
  bool drafting() const { return finish == Finish::kNot && drafting_->wants_model(); }
  bool verifying() const { return finish == Finish::kNot && !drafting_->wants_model(); }
  Feed draft_feed() const { return drafting_->feed(); }
  Feed target_feed() const;
  void feed_draft(const RowsView& rows, int64_t first) { drafting_->take(rows, first); }
  // What the round will keep, from rows [first, ...); commits nothing, so a bad row loses nothing.
  VerifyResult judge(const RowsView& rows, int64_t first) const;
  void commit(const VerifyResult& result, const RowsView& rows, int64_t first);
  void failed(Model model);  // of this model's cache
  void fail(std::exception_ptr why);

  std::vector<Emitted> emitted;
  Finish finish = Finish::kNot;
  std::exception_ptr error;  // kError: what it was
  Stats stats;

 private:
  void finish_if_full();
  int64_t remaining() const;
  int64_t most_drafted() const;

  const Pair& pair_;
  Request request_;
  TokenIds committed_;
  Cached target_;  // committed tokens in the target's cache
  std::unique_ptr<Drafting> drafting_;
  DraftLength length_;
  bool prepared_ = false;
};

}  // namespace anydraft
