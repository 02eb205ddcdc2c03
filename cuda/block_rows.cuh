// The block backend: a block of threads plays a verifier of detail/verifiers.h for one request. Its
// tokens are the CPU engine's: the same arithmetic for each entry, sums in the same order.
#pragma once

#include "anydraft/detail/backend.h"
#include "anydraft/detail/verifiers.h"
#include "batch.cuh"
#include "block_distributions.cuh"
#include "entries.cuh"
#include "validate.cuh"

namespace anydraft::detail {

template <class Block>
class BlockRows : public Backend<BlockRows<Block>> {
  using Base = Backend<BlockRows<Block>>;

 protected:
  using Base::draft_;
  using Base::play_;
  using Base::selected_;
  using Base::target_;

 public:
  // `again`: the request's verifier has been played already.
  ANYDRAFT_HD BlockRows(BlockOps<Block>& ops, const Batch& batch, int64_t index, bool again = false)
      : ops_(ops),
        batch_(batch),
        request_(index),
        base_(batch.request.trees.offsets[index]),
        nodes_(batch.request.trees.offsets[index + 1] - base_) {
    const CudaVerifyRequest& all = batch.request;
    const UniformsView& uniforms = all.uniforms;
    play_ = {slice(all.trees.tokens),
             slice(all.trees.parents),
             slice(batch.workspace.first_child),
             slice(batch.workspace.next_sibling),
             slice(all.proposals.kinds),
             slice(all.trees.paths),
             slice(all.proposals.sparse_offsets),
             all.proposals.ids,
             all.proposals.masses,
             slice(batch.workspace.spent),
             slice(batch.workspace.saved),
             slice(batch.workspace.selections),
             slice(uniforms.accept),
             slice(uniforms.pick),
             slice(uniforms.select),
             uniforms.seeds ? uniforms.seeds[index] : uniforms.seed,
             uniforms.requests ? uniforms.requests[index] : static_cast<uint32_t>(index),
             uniforms.positions ? uniforms.positions[index] : 0};
    if (again) return;
    const int32_t invalid = first_invalid(ops, batch, play_, base_, nodes_);
    if (invalid >= 0) {
      fail(CudaStatus::kMalformed, invalid);
    } else {
      link_nodes(ops, batch, play_, base_, nodes_);
    }
  }

  // The operations on rows that detail/backend.h asks for.
  ANYDRAFT_SHARED_CODE ANYDRAFT_HD void load(int32_t node) {
    const ProposalKind kind = play_.kinds[node];
    has_draft_ = this->first_child(node) >= 0 && kind != ProposalKind::kOneHot &&
                 kind != ProposalKind::kSparse;
    NodeDistributions& known = batch_.workspace.distributions[base_ + node];
    const int32_t row = all().proposals.rows[base_ + node];
    if (!batch_.workspace.parts && !known.loaded) read_distributions(node, row, known);
    target_ = known.target;
    if (has_draft_ && drafts_known(all())) {
      draft_ = known_draft(all(), row);
    } else if (has_draft_) {
      draft_ = known.draft;
      if (known.bad_draft) fail(CudaStatus::kDraftRow, row);
    }
    if (known.bad_target) fail(CudaStatus::kTargetRow, base_ + node);
  }

  ANYDRAFT_SHARED_CODE ANYDRAFT_HD double sum_of(const Residual& residual) {
    if (is_summed(residual)) return summed_.sum;
    if (target_.one_hot >= 0) return this->weight(residual, target_.one_hot);
    const auto left = [&](auto entries, int64_t begin, int64_t end) {
      return lane_left(residual, entries, begin, end);
    };
    const double total = subtracts_row(residual) ? sum_entries(left) : sum_target(residual);
    remember(residual, total);
    return total;
  }

  ANYDRAFT_SHARED_CODE ANYDRAFT_HD double draft_without(int32_t child) {
    return sum_entries([&](auto entries, int64_t begin, int64_t end) {
      double sum = 0;
      int64_t left_out = next_left_out(child, begin + ops_.lane(), end);
      for (int64_t at = begin + ops_.lane(); at < end; at += kLanes) {
        if (at != left_out) {
          sum += entries.draft(at);
        } else {
          left_out = next_left_out(child, at + kLanes, end);
        }
      }
      return sum;
    });
  }

  ANYDRAFT_SHARED_CODE ANYDRAFT_HD double overlap_of(int32_t, double cap) {
    return sum_entries([&](auto entries, int64_t begin, int64_t end) {
      return lane_overlap(entries, cap, begin + ops_.lane(), end);
    });
  }

  // Masses are counted in multiples of 2^-62: sums of integers do not depend on their order.
  ANYDRAFT_SHARED_CODE ANYDRAFT_HD void histogram_of(double* target, double* draft) {
    uint64_t* bins = ops_.scratch().bins;
    ops_.sync();
    for (int b = ops_.thread(); b < 2 * kBuckets; b += ops_.threads()) bins[b] = 0;
    ops_.sync();
    with_entries([&](auto entries) {
      for (int64_t at = ops_.thread(); at < target_.size; at += ops_.threads()) {
        const double q = entries.draft(at);
        if (!(q > 0)) continue;
        const double p = entries.target(at);
        const int bucket = bucket_of(p, q);
        ops_.block().add(&bins[bucket], static_cast<uint64_t>(p * 0x1p62));
        ops_.block().add(&bins[kBuckets + bucket], static_cast<uint64_t>(q * 0x1p62));
      }
    });
    ops_.sync();
    for (int b = 0; b < kBuckets; ++b) {
      target[b] = static_cast<double>(bins[b]) * 0x1p-62;
      draft[b] = static_cast<double>(bins[kBuckets + b]) * 0x1p-62;
    }
  }

  ANYDRAFT_SHARED_CODE ANYDRAFT_HD int32_t pick_with(const Residual& residual, double uniform) {
    if (target_.one_hot >= 0) return target_.one_hot;
    const bool untouched = residual.rejected < 0 && !(residual.drafted > 0);
    if (!untouched && sum_of(residual) > 0) {
      const Entries<AnyReader> entries = any_entries();
      return ops_.pick(target_.size, ops_.scratch().totals, uniform, [&](int64_t at) {
        return next_patch(residual.node, at, at + 1, 1) == at
                   ? this->weight(residual, static_cast<int32_t>(at))
                   : left_at(residual, entries, at);
      });
    }
    know_totals(residual.node);
    return ops_.pick(target_.size, ops_.scratch().target_totals, uniform,
                     [&](int64_t at) { return mass(target_, at); });
  }

  ANYDRAFT_HD void mark_spent(int32_t child, uint8_t spent) {
    summed_.node = -1;
    ops_.once([&] { play_.spent[child] = spent; });
  }
  ANYDRAFT_HD void keep_child(int32_t node, int32_t child, const Selection& selection) {
    ops_.once([&] {
      play_.first_child[node] = child;
      play_.next_sibling[child] = -1;
      play_.selections[node] = selection;
    });
    summed_.node = -1;
    selected_ = true;
  }
  // A mass that underflowed is no mistake of the caller: the verifier then uses the target alone.
  ANYDRAFT_HD void undrawable(int32_t child) {
    const int32_t token = this->token(child);
    const bool finite = has_draft_ && logit_at(draft_, token) > -INFINITY;
    const bool underflowed = finite && !all().draft_sampling[request_].cuts();
    if (!underflowed || this->leaves_out(child, token)) fail(CudaStatus::kUndrawable, child);
  }

  // A value in memory that all threads share.
  template <class T>
  struct Kept {
    BlockRows& rows;
    T& place;
    ANYDRAFT_HD void operator=(const T& value) {
      rows.ops_.once([&] { place = value; });
    }
    ANYDRAFT_HD operator T() const { return place; }
  };
  ANYDRAFT_HD Kept<Residual> saved(int32_t node) { return {*this, play_.saved[node]}; }
  ANYDRAFT_HD Kept<double> told(int32_t node) {
    return {*this, slice(batch_.result.acceptance)[node]};
  }

  ANYDRAFT_HD int32_t base() const { return base_; }
  ANYDRAFT_HD int32_t nodes() const { return nodes_; }
  ANYDRAFT_HD CudaStatus fault() const { return fault_; }

  ANYDRAFT_HD void report(const Verdict& verdict) {
    const CudaVerifyResult& out = batch_.result;
    const bool fine = fault_ == CudaStatus::kFine;
    int32_t count = 0;
    for (int32_t at = fine ? verdict.node : 0; at > 0; at = play_.parents[at]) ++count;
    if (base_ >= 0 && base_ + nodes_ <= all().nodes) {
      for (int32_t i = count + ops_.thread(); i < nodes_; i += ops_.threads()) {
        out.accepted[base_ + i] = -1;
      }
    }
    if (ops_.thread() != 0) return;
    int32_t at = verdict.node;
    for (int32_t i = count - 1; i >= 0; --i, at = play_.parents[at]) out.accepted[base_ + i] = at;
    out.counts[request_] = count;
    out.next_tokens[request_] = fine ? verdict.next_token : -1;
    out.status[request_] = fault_;
    if (out.where) out.where[request_] = where_;
    if (out.degenerate) out.degenerate[request_] = this->degenerate();
  }

 protected:
  ANYDRAFT_HD Entries<AnyReader> any_entries() const {
    return {target_, draft_, {&target_}, {&draft_}};
  }

  // Calls f with the entries of the node's two rows; one type of both is known when compiling.
  template <class F>
  ANYDRAFT_HD auto with_entries(F f) {
    if (has_draft_ && !reads_alike(target_, draft_)) return f(any_entries());
    return with_plain_reader(target_.row, target_.dtype, [&](auto read) {
      using Read = decltype(read);
      return f(Entries<Read>{target_, draft_, read, Read{draft_.row}});
    });
  }
  template <class Sum>
  ANYDRAFT_HD double sum_entries(Sum sum) {
    summed_.node = -1;
    return with_entries([&](auto entries) {
      return ops_.sum_chunks(target_.size, ops_.scratch().totals,
                             [&](int64_t begin, int64_t end) { return sum(entries, begin, end); });
    });
  }

  // Whether scratch.totals still holds this residual's totals. A residual is often summed when a
  // child is rejected, and then drawn from.
  ANYDRAFT_HD bool is_summed(const Residual& other) const {
    return summed_.node == other.node && summed_.rejected == other.rejected &&
           summed_.weight == other.weight && summed_.drafted == other.drafted &&
           summed_.cap == other.cap;
  }

  // Notes that scratch.totals holds this residual's totals.
  ANYDRAFT_HD void remember(const Residual& residual, double sum) {
    summed_ = residual;
    summed_.sum = sum;
  }

  ANYDRAFT_HD bool subtracts_row(const Residual& other) const {
    return has_draft_ && other.drafted > 0;
  }
  // Whether U is relu(weight * target - drafted * draft) for all tokens but those of certain
  // siblings.
  ANYDRAFT_HD bool is_plain(const Residual& other) const {
    return subtracts_row(other) && !selected_ && !(other.cap > 0);
  }
  // U of a token that is no certain sibling.
  template <class Read>
  ANYDRAFT_HD double left_at(const Residual& residual, const Entries<Read>& entries,
                             int64_t at) const {
    if (!subtracts_row(residual)) return entries.target(at) * residual.weight;
    if (is_plain(residual)) return entries.left(residual.weight, residual.drafted, at);
    const double target = entries.target(at);
    double draft = entries.draft(at);
    if (selected_ && draft > 0) {
      draft *= play_.selections[residual.node].factor[bucket_of(target, draft)];
    }
    return plain_residual(residual, target, draft);
  }

  // The sum of U over a lane's entries in a chunk.
  template <class Read>
  ANYDRAFT_HD double lane_left(const Residual& residual, const Entries<Read>& entries,
                               int64_t begin, int64_t end) {
    double sum = 0;
    int64_t patch = next_patch(residual.node, begin + ops_.lane(), end, kLanes);
    if (patch >= end && is_plain(residual) && draft_.one_hot < 0) {
      const Left left(target_, draft_, residual.weight, residual.drafted);
      entries.template for_both<8>(
          begin + ops_.lane(), end, kLanes,
          [&](int64_t, float target, float draft) { sum += left(target, draft); });
      return sum;
    }
    for (int64_t at = begin + ops_.lane(); at < end; at += kLanes) {
      if (at != patch) {
        sum += left_at(residual, entries, at);
      } else {
        sum += this->weight(residual, static_cast<int32_t>(at));
        patch = next_patch(residual.node, at + kLanes, end, kLanes);
      }
    }
    return sum;
  }

  // For a residual of which only certain siblings took: own chunk totals hold but in their chunks.
  ANYDRAFT_HD double sum_target(const Residual& residual) {
    know_totals(residual.node);
    summed_.node = -1;
    double* totals = ops_.scratch().totals;
    const double* own = ops_.scratch().target_totals;
    // A chunk's total less what was taken. `anew`: mostly rounding, so it must be summed.
    const auto total_less = [&](int chunk, int64_t begin, int64_t end, bool& anew) {
      const double whole = residual.weight * (own[chunk] * target_.inverse_total);
      double total = whole;
      int64_t id = next_patch(residual.node, begin, end, 1);
      const bool patched = id < end;
      for (; id < end; id = next_patch(residual.node, id + 1, end, 1)) {
        const auto token = static_cast<int32_t>(id);
        total -= residual.weight * mass(target_, id) - this->weight(residual, token);
      }
      anew = patched && total < kThin * whole;
      return total;
    };
    ops_.sync();
    with_entries([&](auto entries) {
      ops_.for_chunks(
          target_.size,
          [&](int chunk, int64_t begin, int64_t end) {
            bool anew = false;
            total_less(chunk, begin, end, anew);
            return anew ? lane_left(residual, entries, begin, end) : 0.0;
          },
          [&](int chunk, double total) {
            const int64_t begin = static_cast<int64_t>(chunk) * kChunk;
            const int64_t end = Smaller{}(begin + kChunk, target_.size);
            bool anew = false;
            const double quick = total_less(chunk, begin, end, anew);
            totals[chunk] = anew ? total : quick;
          });
    });
    return ops_.sum_of(totals, chunks_of(target_.size));
  }

  ANYDRAFT_HD int64_t next_patch(int32_t node, int64_t from, int64_t end, int64_t step) const {
    return next_untold(play_, node, from, end, step);
  }
  // The next token of a lane that the distribution of `child` leaves out.
  ANYDRAFT_HD int64_t next_left_out(int32_t child, int64_t from, int64_t end) const {
    int64_t next = end;
    for (int32_t at = this->first_left_out(child); at >= 0 && at != child;
         at = this->next_sibling(at)) {
      const int64_t id = this->token(at);
      if (id >= from && id < next && (id - from) % kLanes == 0) next = id;
    }
    return next;
  }

  // Makes scratch.target_totals those of the node, which is loaded.
  ANYDRAFT_SHARED_CODE ANYDRAFT_HD void know_totals(int32_t node) {
    if (totals_of_ == node) return;
    totals_of_ = node;
    BlockDistributions<Block>(ops_).know_totals(target_, batch_.parts(base_ + node, false),
                                                ops_.scratch().target_totals);
  }
  ANYDRAFT_HD Distribution target_distribution(int32_t node, bool& bad) {
    totals_of_ = node;
    const DistributionParams& params = all().sampling[request_];
    return BlockDistributions<Block>(ops_).distribution_of(
        unread_target(all(), base_ + node, params.scale), params, batch_.parts(base_ + node, false),
        ops_.scratch().target_totals, bad);
  }
  ANYDRAFT_SHARED_CODE ANYDRAFT_HD void read_distributions(int32_t node, int32_t row,
                                                           NodeDistributions& known) {
    summed_.node = -1;
    NodeDistributions read{};
    read.target = target_distribution(node, read.bad_target);
    if (has_draft_ && !drafts_known(all())) {
      const DistributionParams& params = all().draft_sampling[request_];
      read.draft = BlockDistributions<Block>(ops_).distribution_of(
          unread_draft(all(), row, params.scale), params, nullptr, ops_.scratch().totals,
          read.bad_draft);
    }
    read.loaded = true;
    ops_.once([&] { known = read; });
  }

  ANYDRAFT_HD void fail(CudaStatus fault, int32_t where) {
    if (fault_ != CudaStatus::kFine) return;
    fault_ = fault;
    where_ = where;
  }

  ANYDRAFT_HD const CudaVerifyRequest& all() const { return batch_.request; }
  template <class T>
  ANYDRAFT_HD T* slice(T* array) const {
    return array ? array + base_ : nullptr;
  }

  BlockOps<Block>& ops_;
  const Batch& batch_;
  const int64_t request_;

 private:
  const int32_t base_, nodes_;
  bool has_draft_ = false;
  Residual summed_{-1, -1, 0, 0, 0, 0};  // scratch.totals has its chunk totals
  int32_t totals_of_ = -1;               // scratch.target_totals has this node's
  CudaStatus fault_ = CudaStatus::kFine;
  int32_t where_ = -1;
};

}  // namespace anydraft::detail
