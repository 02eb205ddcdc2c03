// RowBackend on a CUDA device: a drafter's call is one launch, one copy back and one wait, whatever
// the number of requests; so is the judgement of all trees.
#include <algorithm>
#include <map>
#include <utility>

#include "call_memory.h"
#include "draw.cuh"
#include "kernels.h"
#include "rows/row_backend.h"

namespace anydraft {
namespace {

using detail::CudaDraw;
using detail::CudaDrawn;
using detail::DrawStatus;

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorKind::kValue, "[cuda] expected " + what);
}

class CudaBackend : public RowBackend {
 public:
  void use(const Device& device) override { memory_.use(device.stream); }
  bool in_memory() const override { return false; }
  void begin(const std::vector<DrawTask>& tasks) override;
  Expansion draw(const DrawTask& task) override;
  bool has_mass(const RowView& row) override { return of_row(row).status != DrawStatus::kNothing; }
  double confidence(const RowView& row) override {
    check(of_row(row));
    return of_row(row).confidence;
  }
  void judge(const std::vector<Judgement*>& trees) override;

 private:
  // What was drawn from one row: once, or again and again inside a drafter's token.
  struct Told {
    DrawTask task;
    DrawStatus status;
    double confidence;
    std::vector<Expansion> steps;
  };
  // Trees that one verifier judges.
  struct Group {
    Verifier verifier;
    std::vector<Judgement*> trees;
    std::vector<int32_t> tokens, parents, offsets{0}, paths, rows;
    std::vector<ProposalKind> kinds;
    std::vector<const void*> target_rows;
    std::vector<CudaDraftRow> draft_rows;
    std::vector<DistributionParams> sampling, draft_sampling;
    std::vector<uint64_t> seeds;
    std::vector<uint32_t> streams, positions;
    CudaVerifyRequest request;
    CudaVerifyResult result, told;
  };

  CudaDraftRow row_on_device(const RowView& row, const ProjectionView* projection);
  CudaDraw draw_of(const DrawTask& task);
  void tell(const std::vector<DrawTask>& tasks, const CudaDrawn& drawn);
  Expansion expansion(const DrawTask& task, const CudaDraw& draw, const CudaDrawn& drawn, int32_t i,
                      int32_t step) const;
  const Told& of_row(const RowView& row) const;
  static void check(const Told& told);  // throws where the row is bad
  void add(Judgement& tree, Group& group);
  void upload(Group& group);

  detail::CallMemory memory_;
  detail::Parcel parcel_;
  std::map<const int32_t*, std::unique_ptr<detail::DeviceArray>> maps_;  // by the host's
  std::vector<CudaDraw> draws_;
  std::vector<int32_t> groups_;  // where each block's draws begin
  std::vector<Told> told_;       // of the drafter's last call
};

CudaDraftRow CudaBackend::row_on_device(const RowView& row, const ProjectionView* projection) {
  CudaDraftRow on_device;
  on_device.data = row.data;
  on_device.dtype = row.dtype;
  on_device.size = projection ? projection->vocab : row.cols;
  if (!projection) return on_device;
  on_device.spelt = projection->spelt;
  auto& map = maps_[projection->map];
  if (!map) {
    map = std::make_unique<detail::DeviceArray>(
        projection->map, projection->map_size * sizeof(int32_t), memory_.stream());
  }
  on_device.map = static_cast<const int32_t*>(map->data());
  return on_device;
}

CudaDraw CudaBackend::draw_of(const DrawTask& task) {
  if (task.width > detail::kMostChildren) {
    fail("at most " + std::to_string(detail::kMostChildren) + " children of a node, got " +
         std::to_string(task.width));
  }
  CudaDraw draw{};
  draw.row = row_on_device(task.row, task.projection);
  draw.own_size = task.row.cols;
  draw.columns = std::max(task.columns, task.row.cols);
  draw.params = distribution_params(task.params);
  draw.weighing = distribution_params(task.weighing);
  draw.key = task.key;
  draw.kind = task.kind;
  draw.width = task.width;
  draw.steps = draw.row.spelt ? 1 + task.inside : 1;
  draw.greedy = task.greedy;
  draw.likelihoods = task.likelihoods;
  draw.confidence = task.confidence;
  draw.budget = task.budget;
  return draw;
}

void CudaBackend::begin(const std::vector<DrawTask>& tasks) {
  told_.clear();
  if (tasks.empty()) return;
  draws_.clear();
  groups_.clear();
  int32_t steps = 0, children = 0;
  bool confidences = false, masses = false, weighed = false, fed = false;
  for (const DrawTask& task : tasks) {
    CudaDraw draw = draw_of(task);
    if (!task.follows) groups_.push_back(static_cast<int32_t>(draws_.size()));
    draw.first_step = steps;
    draw.first_child = children;
    steps += draw.steps;
    children += draw.steps * draw.width;
    confidences = confidences || draw.confidence;
    masses = masses || draw.likelihoods;
    weighed = weighed || draw.row.spelt;
    fed = fed || draw.row.map;
    draws_.push_back(draw);
  }
  const size_t count = tasks.size();
  detail::DrawBatch batch{};
  const auto groups = static_cast<int64_t>(groups_.size());
  groups_.push_back(static_cast<int32_t>(count));
  parcel_.clear();
  parcel_.add<CudaDraw>(batch.draws, draws_.data(), count);
  parcel_.add<int32_t>(batch.groups, groups_.data(), groups_.size());
  const auto drawn_at = [&](char* at) {
    CudaDrawn drawn{};
    detail::Taker take(at);
    if (confidences) take(drawn.confidence, count);
    if (weighed) take(drawn.weighed, count);
    take(drawn.known, steps);
    if (masses) take(drawn.masses, children);
    take(drawn.status, count);
    take(drawn.steps, count);
    take(drawn.counts, steps);
    take(drawn.children, children);
    if (fed) take(drawn.fed_as, children);
    return std::pair(drawn, take.end());
  };
  const size_t down = reinterpret_cast<uintptr_t>(drawn_at(nullptr).second);
  char* const results = memory_.send(parcel_, down, 0);
  batch.drawn = drawn_at(results).first;
  detail::launch_draws(batch, groups, memory_.stream());
  tell(tasks, drawn_at(memory_.fetch("draw_kernel")).first);
}

void CudaBackend::tell(const std::vector<DrawTask>& tasks, const CudaDrawn& drawn) {
  int32_t left = 0;
  uint32_t number = 0;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const auto index = static_cast<int32_t>(i);
    told_.push_back({tasks[i], drawn.status[i], drawn.confidence ? drawn.confidence[i] : 0, {}});
    Told& told = told_.back();
    if (tasks[i].budget >= 0) left = tasks[i].budget, number = tasks[i].key.node;
    if (tasks[i].budget >= 0 || tasks[i].follows) {  // as the block made of it
      told.task.width = std::min(tasks[i].width, left);
      told.task.kind = kind_used(tasks[i].kind, told.task.width);
      told.task.key.node = number;
      number += static_cast<uint32_t>(told.task.width);
    }
    for (int32_t step = 0; step < drawn.steps[i]; ++step) {
      told.steps.push_back(expansion(told.task, draws_[i], drawn, index, step));
      left -= static_cast<int32_t>(told.steps.back().children.size());
    }
  }
}

Expansion CudaBackend::expansion(const DrawTask& task, const CudaDraw& draw, const CudaDrawn& drawn,
                                 int32_t i, int32_t step) const {
  Expansion made;
  const int32_t at = draw.first_step + step, first = draw.first_child + step * draw.width;
  const int32_t count = drawn.counts[at];
  if (count == 0) return made;
  made.kind = task.kind;
  made.children.assign(drawn.children + first, drawn.children + first + count);
  made.fed_as = made.children;
  if (draw.row.map) made.fed_as.assign(drawn.fed_as + first, drawn.fed_as + first + count);
  made.masses.assign(count, 1);
  if (task.likelihoods) made.masses.assign(drawn.masses + first, drawn.masses + first + count);
  made.row = std::make_unique<DraftRow>();
  made.row->logits = task.row;
  made.row->projection = task.projection;
  if (draw.row.spelt) made.row->weighed = drawn.weighed[i];
  made.row->known = drawn.known[at];
  return made;
}

const CudaBackend::Told& CudaBackend::of_row(const RowView& row) const {
  for (const Told& told : told_) {
    if (told.task.row.data == row.data) return told;
  }
  fail("a row of the drafter's last call");
}

void CudaBackend::check(const Told& told) {
  if (told.status != DrawStatus::kBad) return;
  throw Error(ErrorKind::kNonFiniteLogits,
              "[draft] expected finite logits (or -inf for masked tokens), and |logit| / "
              "temperature below 2.9e6, got others in row " +
                  std::to_string(told.task.row.name));
}

// Equal siblings become one, which is fed as the first of them.
void merge(Expansion& drawn) {
  const std::vector<int32_t> children = drawn.children, fed = drawn.fed_as;
  const std::vector<double> masses = drawn.masses;
  merge_equal(drawn.children, drawn.paths);
  for (size_t i = 0; i < drawn.children.size(); ++i) {
    const auto first = std::find(children.begin(), children.end(), drawn.children[i]);
    drawn.fed_as[i] = fed[first - children.begin()];
    drawn.masses[i] = masses[first - children.begin()];
  }
  drawn.fed_as.resize(drawn.children.size());
  drawn.masses.resize(drawn.children.size());
}

Expansion CudaBackend::draw(const DrawTask& task) {
  for (Told& told : told_) {
    const RandomKey &planned = told.task.key, &key = task.key;
    const bool same = told.task.row.data == task.row.data && planned.seed == key.seed &&
                      planned.request == key.request && planned.position == key.position &&
                      told.task.width == task.width && planned.node <= key.node;
    const uint32_t step = key.node - planned.node;
    if (!same || step > static_cast<uint32_t>(told.task.inside)) continue;
    check(told);
    if (step >= told.steps.size()) continue;
    Expansion drawn = std::move(told.steps[step]);
    if (drawn.row) drawn.row->place = task.place;
    if (task.merge && drawn.row) merge(drawn);
    return drawn;
  }
  fail("a draw that was planned");
}

void CudaBackend::add(Judgement& tree, Group& group) {
  const VerifyRequest& from = tree.request;
  const int64_t cols = from.target_rows[0].cols;
  if (from.vocabulary() > cols) {
    fail("a target whose logits cover the draft's " + std::to_string(from.vocabulary()) +
         " ids, got " + std::to_string(cols) + " columns");
  }
  const auto first_row = static_cast<int32_t>(group.draft_rows.size());
  const int32_t nodes = from.trees.offsets[1];
  for (int32_t node = 0; node < nodes; ++node) {
    group.tokens.push_back(from.trees.tokens[node]);
    group.parents.push_back(from.trees.parents[node]);
    group.paths.push_back(from.trees.paths[node]);
    group.kinds.push_back(from.proposals.kinds[node]);
    const int32_t row = from.proposals.rows[node];
    group.rows.push_back(row < 0 ? -1 : first_row + row);
    group.target_rows.push_back(from.target_rows[node].data);
  }
  for (int64_t i = 0; i < from.draft_row_count; ++i) {
    const DraftRow& row = *from.draft_rows[i];
    CudaDraftRow on_device = row_on_device(row.logits, row.projection);
    on_device.place = row.place;
    on_device.weighed = row.weighed;
    on_device.known = *row.known;
    group.draft_rows.push_back(on_device);
  }
  group.trees.push_back(&tree);
  group.offsets.push_back(group.offsets.back() + nodes);
  group.sampling.push_back(distribution_params(from.target_params(0)));
  group.draft_sampling.push_back(distribution_params(from.draft_params(0)));
  group.seeds.push_back(from.uniforms.seed);
  group.streams.push_back(from.uniforms.requests[0]);
  group.positions.push_back(from.uniforms.positions[0]);
}

void CudaBackend::upload(Group& group) {
  CudaVerifyRequest& to = group.request;
  const size_t nodes = group.tokens.size(), requests = group.trees.size();
  const RowView& row = group.trees[0]->request.target_rows[0];
  to.trees.requests = static_cast<int64_t>(requests);
  to.nodes = static_cast<int64_t>(nodes);
  to.target_logits = {nullptr, row.dtype, to.nodes, row.cols, row.cols};
  to.draft_row_count = static_cast<int64_t>(group.draft_rows.size());
  to.verifier = group.verifier;
  parcel_.add(to.target_rows, group.target_rows.data(), nodes);
  if (to.draft_row_count > 0) {
    parcel_.add<CudaDraftRow>(to.draft_rows, group.draft_rows.data(), group.draft_rows.size());
  }
  parcel_.add<DistributionParams>(to.sampling, group.sampling.data(), requests);
  parcel_.add<DistributionParams>(to.draft_sampling, group.draft_sampling.data(), requests);
  parcel_.add<uint64_t>(to.uniforms.seeds, group.seeds.data(), requests);
  parcel_.add<uint32_t>(to.uniforms.requests, group.streams.data(), requests);
  parcel_.add<uint32_t>(to.uniforms.positions, group.positions.data(), requests);
  parcel_.add<int32_t>(to.trees.tokens, group.tokens.data(), nodes);
  parcel_.add<int32_t>(to.trees.parents, group.parents.data(), nodes);
  parcel_.add<int32_t>(to.trees.offsets, group.offsets.data(), requests + 1);
  parcel_.add<int32_t>(to.trees.paths, group.paths.data(), nodes);
  parcel_.add<ProposalKind>(to.proposals.kinds, group.kinds.data(), nodes);
  parcel_.add<int32_t>(to.proposals.rows, group.rows.data(), nodes);
}

void CudaBackend::judge(const std::vector<Judgement*>& trees) {
  std::map<Verifier, Group> groups;
  for (Judgement* tree : trees) {
    Group& group = groups[tree->request.verifier];
    group.verifier = tree->request.verifier;
    try {
      add(*tree, group);
    } catch (const std::exception&) {
      tree->error = std::current_exception();
    }
  }
  parcel_.clear();
  size_t workspace = 0;
  for (auto& [verifier, group] : groups) {
    if (group.trees.empty()) continue;
    upload(group);
    workspace = std::max(workspace, verify_cuda_workspace(group.request));
  }
  if (parcel_.size() == 0) return;
  const auto place = [&](char* at, CudaVerifyResult Group::* result) {
    detail::Taker take(at);
    for (auto& [verifier, group] : groups)
      take(group.*result, group.trees.size(), group.tokens.size());
    return take.end();
  };
  const size_t down = reinterpret_cast<uintptr_t>(place(nullptr, &Group::told));
  char* const results = memory_.send(parcel_, down, workspace);
  place(results, &Group::result);
  for (auto& [verifier, group] : groups) {
    if (group.trees.empty()) continue;
    verify_cuda_async(group.request, group.result, memory_.workspace(), workspace,
                      memory_.stream());
  }
  place(memory_.fetch("verify_kernel"), &Group::told);
  for (auto& [verifier, group] : groups) {
    for (size_t i = 0; i < group.trees.size(); ++i) {
      Judgement& tree = *group.trees[i];
      const CudaVerifyResult& told = group.told;
      const int32_t* path = told.accepted + group.offsets[i];
      if (told.status[i] != CudaStatus::kFine) {
        int64_t where = told.where[i];
        if (told.status[i] == CudaStatus::kTargetRow) {
          where = tree.request.target_rows[where - group.offsets[i]].name;
        }
        tree.error = std::make_exception_ptr(detail::error_of(told.status[i], 0, where));
        continue;
      }
      tree.result.accepted.assign(path, path + told.counts[i]);
      tree.result.offsets = {0, told.counts[i]};
      tree.result.next_tokens = {told.next_tokens[i]};
      tree.result.degenerate = {told.degenerate[i]};
    }
  }
}

}  // namespace

std::unique_ptr<RowBackend> make_cuda_backend() { return std::make_unique<CudaBackend>(); }

}  // namespace anydraft
