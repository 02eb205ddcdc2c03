// What a launch of the verifier works on: the request, where its result goes, and room.
#pragma once

#include "anydraft/cuda.h"
#include "anydraft/detail/play.h"

namespace anydraft::detail {

struct NodeLaws {
  Law target, draft;
  bool loaded;
};

// Room of a batch, [nodes] each.
struct Room {
  NodeLaws* laws;
  Residual* saved;
  Selection* selections;  // multipath alone
  int32_t *first_child, *next_sibling;
  uint8_t* spent;
};

struct Batch {
  CudaVerifyRequest request;
  CudaVerifyResult result;
  Room room;
  uint32_t kinds;  // bit k: the verifier takes LawKind k
};

// Calls take(pointer of the room, count) for each array in it, larger alignments first.
template <class Take>
void for_each_array(Room& room, const CudaVerifyRequest& request, Take take) {
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
    array = reinterpret_cast<std::remove_reference_t<decltype(array)>>(at);
    at += (static_cast<size_t>(count) * sizeof *array + 15) / 16 * 16;
  });
  for (int kind = 0; kind <= static_cast<int>(LawKind::kSparse); ++kind) {
    if (takes(request.verifier, static_cast<LawKind>(kind))) batch.kinds |= 1u << kind;
  }
  return batch;
}

}  // namespace anydraft::detail
