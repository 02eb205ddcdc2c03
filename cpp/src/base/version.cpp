#include "anydraft/version.h"

namespace anydraft {

// ANYDRAFT_VERSION is set for this file alone by CMakeLists.txt.
const char* version() noexcept { return ANYDRAFT_VERSION; }

}  // namespace anydraft
