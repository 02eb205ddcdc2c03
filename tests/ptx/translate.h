// Between reading PTX and giving registers their rows.
#pragma once

#include "program.h"

namespace ptx {

// An operand of an instruction that is a register.
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

// Turns numbers of registers into rows of a frame, as few as a linear scan of what lives where
// needs. `references` are in the order of the instructions [function.first, module.code.size()).
void give_rows(Module& module, Function& function, const std::vector<Reference>& references);

}  // namespace ptx
