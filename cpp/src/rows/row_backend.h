// What is done to rows where they lie: children drawn from a drafter's, trees judged by the
// target's. One backend a device; drafts and the engine know nothing else of it.
#pragma once

#include <exception>
#include <memory>
#include <vector>

#include "anydraft/draft.h"
#include "anydraft/verify.h"

namespace anydraft {

// The children of one node, to be drawn from the row of the last drafter token above it.
struct DrawTask {
  RowView row;                                 // of the ids in the drafter's vocabulary
  int64_t columns = 0;                         // of the row with the padding behind these
  const ProjectionView* projection = nullptr;  // null: its ids are those of the tree
  TriePlace place{0, 0, 0};                    // `spelt`: inside a drafter token, if depth > 0
  SamplingParams weighing;                     // `spelt`: of the drafter's own tokens
  SamplingParams params;                       // of the children
  ProposalKind kind = ProposalKind::kIid;
  int32_t width = 0;
  RandomKey key;             // of the first child
  bool greedy = false;       // the drafter is: its token ends where that is the likelier
  bool likelihoods = false;  // the tree grows by the children's masses
  bool merge = false;        // equal siblings are one
  // For rows that are not in memory: how many draws may follow inside the drafter's token, and
  // whether the row's confidence will be asked for.
  int32_t inside = 0;
  bool confidence = false;
  // Likewise, of a dynamic tree: how many children this node and those that follow may have, each
  // as many as the ones before leave; -1: no limit.
  int32_t budget = -1;
  // Shares the budget of the task before it, and takes the numbers behind its.
  bool follows = false;
};

// The children drawn for one node, before the tree has them.
struct Expansion {
  ProposalKind kind = ProposalKind::kOneHot;
  std::vector<int32_t> children;  // tokens of the tree
  std::vector<double> masses;     // in the draft row
  std::vector<int32_t> paths;     // of merged siblings; else empty
  // The drafter's ids of the children; -1: the drafter's token goes on behind this one.
  std::vector<int32_t> fed_as;
  std::unique_ptr<DraftRow> row;  // what the children were drawn from
};

// One request's tree, and what comes of it.
struct Judgement {
  VerifyRequest request;
  VerifyResult result;
  std::exception_ptr error;  // of this request alone
};

class RowBackend {
 public:
  virtual ~RowBackend() = default;

  virtual void use(const Device&) {}  // whose stream to work in
  // Whether the host reads these rows itself. Else all draws of a call are made at once, by
  // begin().
  virtual bool in_memory() const { return true; }
  // Rows of a drafter's call have come. `tasks`, of rows that are not in memory: what will be
  // asked of them, all requests' together. Throws what concerns the whole call.
  virtual void begin(const std::vector<DrawTask>& tasks) = 0;
  // Throws for a bad row. No children: the row has no mass on the tree's tokens.
  virtual Expansion draw(const DrawTask& task) = 0;
  virtual bool has_mass(const RowView& row) = 0;      // on any of its ids
  virtual double confidence(const RowView& row) = 0;  // as anydraft::confidence
  virtual void judge(const std::vector<Judgement*>& trees) = 0;
};

// Of the CUDA device that is current. Throws Error(kCudaUnavailable) in a build without CUDA.
std::unique_ptr<RowBackend> make_cuda_backend();

}  // namespace anydraft
