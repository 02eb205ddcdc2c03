// Rows of logits owned by the caller.
#pragma once

#include <cstddef>
#include <cstdint>

#include "anydraft/detail/host_device.h"

namespace anydraft {

enum class DType : int32_t { kFloat32, kBFloat16, kFloat16 };

ANYDRAFT_HD inline int64_t size_of(DType dtype) { return dtype == DType::kFloat32 ? 4 : 2; }

// One row, wherever it lies: `cols` entries side by side; an id behind them has no mass.
struct RowView {
  const void* data = nullptr;
  DType dtype = DType::kFloat32;
  int64_t cols = 0;
  int64_t name = 0;  // its number in error messages
};

// A view of [rows, cols] numbers; entries of a row are contiguous, rows lie `stride` entries apart.
// It owns nothing: the memory must outlive it. Safe to read from several threads.
struct RowsView {
  const void* data = nullptr;
  DType dtype = DType::kFloat32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;
  int64_t named_from = 0;  // the number of row 0 in error messages

  ANYDRAFT_HD const void* row(int64_t index) const {
    return static_cast<const char*>(data) + index * stride * size_of(dtype);
  }
  RowView at(int64_t index) const { return {row(index), dtype, cols, named_from + index}; }
};

// Where rows lie: in memory, or on the CUDA device that is current, there once `stream` has come to
// what is in it now.
struct Device {
  bool cuda = false;
  void* stream = nullptr;
};

}  // namespace anydraft
