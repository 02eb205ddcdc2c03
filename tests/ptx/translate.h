// The interface between reading PTX and giving registers their rows.
#pragma once

#include "program.h"

namespace ptx {

// A register operand of an instruction.
struct Reference {
  int instruction;
  uint8_t slot;  // 0-3: d, 4-7: s, 8: guard
  Rows rows;
  bool writes;
};

inline Operand& operand_of(Instruction& instruction, uint8_t slot) {
  if (slot == 8) return instruction.guard;
  return slot < 4 ? instruction.d[slot] : instruction.s[slot - 4];
}

// Turns register numbers into rows of a frame, as few as a linear scan finds. `references` are in
// the order of the instructions [function.first, module.code.size()).
void give_rows(Module& module, Function& function, const std::vector<Reference>& references);

}  // namespace ptx
