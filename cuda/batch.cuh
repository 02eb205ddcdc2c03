// What a launch of the verifier works on: the request, where its result goes, and room.
#pragma once

#include "anydraft/cuda.h"
#include "anydraft/detail/play.h"
#include "block.cuh"

namespace anydraft::detail {

struct NodeLaws {
  Law target, draft;
  bool bad_target, bad_draft;
  bool loaded;  // of rows that are read when needed
};

// A draw from what is left behind a node's last child, put off till all of the device sweeps the
// rows: a walk's own few blocks would take long.
struct PutOff {
  Residual before, after;  // of that child's rejection; `after` is not summed yet
  double coin;
  uint64_t swept;  // chunks
  bool waits;
};

// Room of a batch, [nodes] each unless said otherwise.
struct Room {
  NodeLaws* laws;
  Residual* saved;
  Selection* selections;  // multipath alone
  int32_t *first_child, *next_sibling;
  uint8_t* spent;
  PutOff* put_off;  // [requests]; null: nothing is put off
  double* left;     // [requests, chunks] totals of those residuals
  Part* parts;      // [nodes, target and draft row, chunks]; null: rows are read when needed
};

struct Batch {
  CudaVerifyRequest request;
  CudaVerifyResult result;
  Room room;
  uint32_t kinds;  // bit k: the verifier takes LawKind k

  ANYDRAFT_HD Part* parts(int64_t node, bool draft) const {
    if (!room.parts) return nullptr;
    return room.parts + (2 * node + draft) * chunks_of(request.target_logits.cols);
  }
};

// A row as its law has it before it is read.
ANYDRAFT_HD inline Law unread_target(const CudaVerifyRequest& all, int64_t index, float scale) {
  const RowsView& rows = all.target_logits;
  return law_from(RowLaw{scale, 0, 0, -1, 0}, rows.row(index), rows.dtype, rows.cols);
}
ANYDRAFT_HD inline Law draft_law(const CudaVerifyRequest& all, int64_t index, const RowLaw& known) {
  Law law =
      law_from(known, all.draft_logits.row(index), all.draft_logits.dtype, all.target_logits.cols);
  law.map = all.draft_map;
  law.weighed = all.draft_weighed ? all.draft_weighed + index : nullptr;
  law.place = all.draft_places ? all.draft_places + index : nullptr;
  return law;
}
ANYDRAFT_HD inline Law unread_draft(const CudaVerifyRequest& all, int64_t index, float scale) {
  return draft_law(all, index, RowLaw{scale, 0, 0, -1, 0});
}

// Walks that sweep rows many times.
ANYDRAFT_HD inline bool plays_paths(Verifier verifier) {
  return verifier == Verifier::kMultipath || verifier == Verifier::kKseq;
}

// Room for the parts of rows, a request.
constexpr int64_t kMostPartBytes = 48 << 10;

inline int64_t parts_of(const CudaVerifyRequest& request) {
  const int64_t parts = 2 * request.nodes * chunks_of(request.target_logits.cols);
  const int64_t most = kMostPartBytes * request.trees.requests;
  return request.lazy || parts * static_cast<int64_t>(sizeof(Part)) > most ? 0 : parts;
}

// Whether draws may wait for a sweep by the whole device: only where nothing else needs its sum.
inline bool puts_off(const CudaVerifyRequest& request) {
  return request.verifier == Verifier::kTopDown && request.draft_logits.data;
}

// Calls take(pointer of the room, count) for each array in it, larger alignments first.
template <class Take>
void for_each_array(Room& room, const CudaVerifyRequest& request, Take take) {
  take(room.parts, parts_of(request));
  const int64_t put_off = puts_off(request) ? request.trees.requests : 0;
  take(room.put_off, put_off);
  take(room.left, put_off * chunks_of(request.target_logits.cols));
  take(room.laws, request.nodes);
  take(room.saved, request.nodes);
  take(room.selections, request.verifier == Verifier::kMultipath ? request.nodes : 0);
  take(room.first_child, request.nodes);
  take(room.next_sibling, request.nodes);
  take(room.spent, request.nodes);
}

inline size_t room_of(const CudaVerifyRequest& request) {
  size_t bytes = 0;
  Room room{};
  for_each_array(room, request, [&](auto*& array, int64_t count) {
    bytes += (static_cast<size_t>(count) * sizeof *array + 15) / 16 * 16;
  });
  return bytes;
}

inline Batch batch_of(const CudaVerifyRequest& request, const CudaVerifyResult& result,
                      void* memory) {
  Batch batch{request, result, {}, 0};
  auto* at = static_cast<char*>(memory);
  for_each_array(batch.room, request, [&](auto*& array, int64_t count) {
    if (count == 0) return;
    array = reinterpret_cast<std::remove_reference_t<decltype(array)>>(at);
    at += (static_cast<size_t>(count) * sizeof *array + 15) / 16 * 16;
  });
  for (int kind = 0; kind <= static_cast<int>(LawKind::kSparse); ++kind) {
    if (takes(request.verifier, static_cast<LawKind>(kind))) batch.kinds |= 1u << kind;
  }
  return batch;
}

}  // namespace anydraft::detail
