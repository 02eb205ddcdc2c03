// PTX in the form that the machine runs: translated once, with registers as rows of 32 lanes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace ptx {

constexpr int kLanes = 32;
constexpr uint32_t kAll = 0xffffffffu;

struct Lanes;
struct Instruction;
using Compute = void (*)(Lanes&, const Instruction&, uint32_t mask);

enum class Op : uint8_t {
  kCompute,  // each lane by itself
  kAddress,  // of a variable
  kSpecial,  // %tid and the like
  kMapa,
  kLoad,
  kStore,
  kAtomicAdd,
  kFence,
  kShuffle,
  kBarrier,
  kBarrierAnd,
  kClusterArrive,
  kClusterWait,
  kLaunchDependents,
  kGridWait,
  kBranch,
  kCall,
  kReturn,
};

// Which kind of row holds a register: 32 bits or fewer, 64 bits, or a predicate; `kNone`: no
// operand.
enum class Rows : uint8_t { kNone, k32, k64, kPredicate };

enum class Space : uint8_t { kGeneric, kGlobal, kShared, kLocal, kParam };

// >= 0: a row of the frame; < 0: ~row of the constants.
using Operand = int32_t;

struct Instruction {
  Op op;
  Space space = Space::kGeneric;
  Rows rows = Rows::kNone;  // of a load's or store's registers
  uint8_t bytes = 0;        // of one element in memory
  uint8_t count = 0;        // of elements (vectors), or of operands
  bool is_signed = false, guard_negated = false;
  bool base_is_variable = false;  // an address: offset in the space, no register
  bool base_is_narrow = false;    // a register of 32 bits
  Operand guard = -1;             // a predicate's row; -1: none
  Operand d[4] = {}, s[4] = {};
  int64_t offset = 0;  // of an address; a special register's number
  int32_t target = -1;
  int32_t place = 0;  // in Module::places
  Compute compute = nullptr;
};

// A .loc line; `from`: where it was inlined, -1: nowhere.
struct Place {
  int file, line, from;
};

struct Variable {
  std::string name;
  uint32_t offset, size;
};

struct Function {
  std::string name;
  int first = 0;  // instruction
  bool is_entry = false;
  uint32_t rows32 = 0, rows64 = 0, predicates = 0;
  uint32_t frame = 0;   // bytes of local memory: arguments, results, depot, calls' arguments
  uint32_t shared = 0;  // bytes
  uint32_t max_threads = 1024;
  std::vector<Variable> parameters, results;
};

// A call: arguments are copied from the caller's frame to the callee's, results back.
struct CallSite {
  int function = -1;
  std::string name;
  std::vector<uint32_t> arguments, results;  // offsets in the caller's frame
};

struct Module {
  int capability = 0;  // that it was compiled for: 90
  std::vector<Instruction> code;
  std::vector<Function> functions;
  std::vector<CallSite> calls;
  std::vector<Place> places;
  std::map<int, std::string> files;
  std::vector<uint32_t> constants32;  // kLanes of each
  std::vector<uint64_t> constants64;
  std::vector<uint32_t> constant_predicates{0, kAll};

  std::string where(int instruction) const;
  std::string text_of(int place) const;
};

// Throws std::runtime_error, with the line, for anything it does not know.
std::unique_ptr<Module> translate(const std::string& text);

// The PTX texts in what __cudaRegisterFatBinary is given.
std::string ptx_of_fat_binary(const void* wrapper);

// ---- Rows at run time
// ----------------------------------------------------------------------------
struct Lanes {
  uint32_t* rows32;
  uint64_t* rows64;
  uint32_t* predicates;
  const Module* module;
};

inline uint32_t* row32(Lanes& lanes, Operand at) {
  return at >= 0 ? lanes.rows32 + at * kLanes
                 : const_cast<uint32_t*>(lanes.module->constants32.data()) + ~at * kLanes;
}
inline uint64_t* row64(Lanes& lanes, Operand at) {
  return at >= 0 ? lanes.rows64 + at * kLanes
                 : const_cast<uint64_t*>(lanes.module->constants64.data()) + ~at * kLanes;
}
inline uint32_t predicate(Lanes& lanes, Operand at) {
  return at >= 0 ? lanes.predicates[at] : lanes.module->constant_predicates[~at];
}
inline void set_predicate(Lanes& lanes, Operand at, uint32_t mask, uint32_t value) {
  if (at < 0) return;
  lanes.predicates[at] = (lanes.predicates[at] & ~mask) | (value & mask);
}

template <class F>
inline void for_lanes(uint32_t mask, F f) {
  if (mask == kAll) {
    for (int lane = 0; lane < kLanes; ++lane) f(lane);
  } else {
    for (; mask; mask &= mask - 1) f(__builtin_ctz(mask));
  }
}

// ---- What opcodes compute
// ------------------------------------------------------------------------
struct Meaning {
  Compute compute;
  const char* operands;  // first the results: 'd' 64, 'w' 32 or 16, 'p' predicate, '|' then sources
};
// The meaning of an opcode, or null. `wide_source` and `wide_result`: a cvt of 64-bit registers.
const Meaning* meaning_of(const std::string& opcode);

}  // namespace ptx
