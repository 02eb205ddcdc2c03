#pragma once

#include <cstdint>

namespace anydraft::detail {
namespace {
#include "vocab/unicode_tables.inc"
}  // namespace
}  // namespace anydraft::detail
