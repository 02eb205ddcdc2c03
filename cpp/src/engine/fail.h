// How the engine refuses what it is given.
#pragma once

#include <string>

#include "anydraft/error.h"

namespace anydraft::detail {

[[noreturn]] inline void fail_in_engine(const std::string& expected) {
  throw Error(ErrorKind::kValue, "[Engine] expected " + expected);
}

}  // namespace anydraft::detail
