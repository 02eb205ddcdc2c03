// One request on its way: drafting, then verification, round after round.
#pragma once

#include <memory>
#include <vector>

#include "anydraft/session.h"
#include "anydraft/verify.h"
#include "bridge/context.h"

namespace anydraft {

struct Session::Shared {
  std::shared_ptr<const Vocabulary> target, drafter;
  std::shared_ptr<const VocabularyMap> map;  // bridges across vocabularies
  SessionOptions options;

  bool across() const { return options.bridge == Bridge::kTli || options.bridge == Bridge::kSlem; }
  bool has_model() const { return across() || options.bridge == Bridge::kSame; }
};

struct Session::Job {
  Job(const Shared& shared, Request request);

  // Starts the next round where one is due; may throw what an encoder throws, and be called again.
  void prepare();
  bool drafting() const { return finish == Finish::kNot && drafting_; }
  bool verifying() const { return finish == Finish::kNot && !drafting_; }
  Feed draft_feed(int64_t id) const;
  Feed target_feed(int64_t id) const;
  void feed_draft(const RowsView& rows, int64_t index);
  // What the round will keep, from rows [first, ...); commits nothing, so a bad row loses nothing.
  VerifyResult judge(const RowsView& rows, int64_t first);
  void commit(const VerifyResult& result);

  std::vector<Emitted> emitted;
  Finish finish = Finish::kNot;
  Stats stats;

 private:
  void finish_if_full();
  int64_t room() const;
  void propose(int32_t token, std::vector<float> law);
  void settle_string();
  bool fits_drafter();
  bool unsure(const RowsView& rows, int64_t index);
  bool stops(int32_t token) const;
  uint32_t position() const { return static_cast<uint32_t>(committed_.size()); }

  const Shared& shared_;
  Request request_;
  SamplingParams draft_sampling_;
  std::unique_ptr<detail::DraftContext> context_;  // across vocabularies
  TokenIds committed_;
  size_t target_fed_ = 0;  // committed tokens in the target's cache
  size_t draft_fed_ = 0;   // same vocabulary: committed + drafted tokens in the drafter's cache
  bool prepared_ = false;  // this round's lookup or context is done
  bool drafting_ = false;
  int64_t limit_ = 0;                     // target tokens this round may propose
  int32_t steps_ = 0;                     // drafter tokens drawn this round
  double confidence_ = 1;                 // of the draft so far, in the drafter's eyes
  TokenIds drafts_;                       // target tokens proposed
  TokenIds string_;                       // SLEM: drafter tokens drawn
  std::vector<std::vector<float>> laws_;  // [drafts] target-sized logits; empty where one-hot
};

}  // namespace anydraft
