// Collects faults. Each kind is listed once for an instruction, with its count.
#pragma once

#include <map>
#include <string>

#include "program.h"

namespace ptx {

class Findings {
 public:
  // `instruction` < 0: the fault is of a launch or of the host.
  void add(const std::string& what, const Module* module, int instruction,
           const std::string& details);
  size_t count() const { return found_.size(); }
  bool any_says(const std::string& what) const;
  void forget() { found_.clear(); }
  void keep_quiet(bool quiet) { quiet_ = quiet; }

 private:
  struct Key {
    std::string what;
    const Module* module;
    int instruction;
    bool operator<(const Key& other) const {
      if (module != other.module) return module < other.module;
      if (instruction != other.instruction) return instruction < other.instruction;
      return what < other.what;
    }
  };
  std::map<Key, size_t> found_;
  bool quiet_ = false;
};

}  // namespace ptx
