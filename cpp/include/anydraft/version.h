#pragma once

namespace anydraft {

// The library's version, "major.minor.patch": the one in pyproject.toml.
// Static storage; any thread may call it.
const char* version() noexcept;

}  // namespace anydraft
