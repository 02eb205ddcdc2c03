// The CPU backend: plays the verifiers of detail/verifiers.h for one request over rows in memory.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "anydraft/detail/backend.h"
#include "anydraft/detail/verifiers.h"
#include "rows/fractions.h"
#include "rows/sweeps.h"
#include "sampling/normalise.h"

namespace anydraft::detail {

// first_child and next_sibling [nodes] of a tree given by parents [nodes].
void link_children(const int32_t* parents, int32_t nodes, int32_t* first_child,
                   int32_t* next_sibling);

// Memory that one request after another uses: nothing is allocated once it has grown.
struct CpuScratch {
  struct NodeDistributions {
    Distribution target, draft;
    bool loaded;
  };
  std::vector<int32_t> first_child, next_sibling;
  std::vector<uint8_t> spent;
  std::vector<Residual> saved;
  std::vector<Residual> foreseen;  // by child, once it is rejected; node -1: not summed yet
  std::vector<Selection> selections;
  std::vector<NodeDistributions> distributions;
  Fractions target, draft;     // of the rows of one node
  RowReading reading;          // of one node's target row
  std::vector<double> totals;  // likewise, of the last residual summed
  std::vector<std::pair<int32_t, double>> patches;
};

class CpuRows : public Backend<CpuRows> {
 public:
  // Plays request `request` of a checked VerifyRequest; keeps references.
  CpuRows(const VerifyRequest& all, int64_t request, CpuScratch& scratch);

  Residual residual(int32_t node, double weight = 1) {
    offered_ = weight;
    return Backend::residual(node, weight);
  }
  void load(int32_t node);
  double sum_of(const Residual& residual);
  void foresee(const Residual& residual, int32_t child);
  double draft_without(int32_t child);
  double overlap_of(int32_t node, double cap);
  void histogram_of(double* target, double* draft);
  int32_t pick_with(const Residual& residual, double uniform);
  void mark_spent(int32_t child, uint8_t spent);
  void keep_child(int32_t node, int32_t child, const Selection& selection);
  void undrawable(int32_t child);
  int64_t vocab() const { return all_.vocabulary(); }

 protected:
  // U of entries [begin, end).
  void residual_masses(const Residual& residual, int64_t begin, int64_t end, double* out);

 private:
  bool expects_sums(int32_t node) const;
  Distribution target_distribution(int32_t node, Fractions* keep);
  Distribution draft_distribution(int32_t node, Fractions* keep);
  // Whether the children of a node were drawn from a whole row.
  bool subtracts(int32_t node) const {
    const ProposalKind kind = play_.kinds[node];
    return first_child(node) >= 0 && kind != ProposalKind::kOneHot && kind != ProposalKind::kSparse;
  }
  bool subtracts_row(const Residual& residual) const { return has_draft_ && residual.drafted > 0; }
  double add_up(const Residual& residual);  // its sum, with the chunks' totals and patches
  void keep();
  void find_patches(const Residual& residual);
  double sum_anew(const Residual& residual);
  double sum_of_chunk(const Residual& residual, int64_t chunk, bool sweep, bool plain);
  Pair pair_at(int64_t begin) const;

  const VerifyRequest& all_;
  const int64_t request_;
  const int32_t base_;
  CpuScratch& scratch_;
  int32_t node_ = -1;      // whose distributions target_ and draft_ are
  int32_t kept_ = -1;      // whose fractions the scratch holds
  double offered_ = 1;     // the weight of the residual last begun
  int32_t totalled_ = -1;  // whose distribution_totals
  bool has_draft_ = false;
  Residual summed_{-1, -1, 0, 0, 0, 0};  // whose totals and patches the scratch holds
};

}  // namespace anydraft::detail
