#include "findings.h"

#include <cstdio>

namespace ptx {

void Findings::add(const std::string& what, const Module* module, int instruction,
                   const std::string& details) {
  if (found_[{what, module, instruction}]++ > 0 || quiet_ || found_.size() > 60) return;
  std::string where;
  if (module && instruction >= 0) where = "\n    at " + module->where(instruction);
  std::fprintf(stderr, "ptx: %s: %s%s\n", what.c_str(), details.c_str(), where.c_str());
}

bool Findings::any_says(const std::string& what) const {
  for (const auto& [key, count] : found_) {
    if (key.what.find(what) != std::string::npos) return true;
  }
  return false;
}

}  // namespace ptx
