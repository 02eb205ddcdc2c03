// Reads PTX: declarations, scopes and statements in translate.cpp, instructions in
// instructions.cpp.
#pragma once

#include <unordered_map>

#include "lexer.h"
#include "translate.h"

namespace ptx {

using std::string;

inline uint32_t round_up(uint32_t size, uint32_t to) { return (size + to - 1) / to * to; }

inline Rows rows_of_type(const string& type) {
  if (type == ".pred") return Rows::kPredicate;
  return type.size() > 2 && type.substr(2) == "64" ? Rows::k64 : Rows::k32;
}
inline int bytes_of_type(const string& type) { return std::stoi(type.substr(2)) / 8; }

struct Symbol {
  enum Kind { kRegister, kLocal, kShared, kParam } kind;
  Rows rows;        // of a register
  uint32_t offset;  // of a variable; a register's number
  uint32_t size;
};

class Translator {
 public:
  explicit Translator(const string& text) : lex_(text), module_(std::make_unique<Module>()) {}

  std::unique_ptr<Module> run();

 private:
  // Declarations.
  void file();
  Symbol variable(Symbol::Kind kind, uint32_t& end, string& name);
  std::vector<Variable> parameters(Symbol::Kind kind, uint32_t& end);
  void function(bool entry);
  void registers();
  uint32_t next_name(Rows rows);
  const Symbol* find(const string& name);
  // Statements.
  void body();
  void statement();
  void location(const string& text);
  // Operands.
  Operand register_of(const string& name, Rows rows, uint8_t slot, bool writes);
  Rows rows_of(const string& name);
  Operand constant(const string& text, bool negative, Rows rows);
  Operand source(Rows rows, uint8_t slot);
  void comma();
  void address(Instruction& one);
  void variable_of(Instruction& one, const string& name);
  // Instructions.
  void instruction(Instruction& one, const string& opcode);
  void memory(Instruction& one, const string& opcode);
  void shuffle(Instruction& one);
  void move(Instruction& one, const string& opcode);
  void call(Instruction& one);
  void compute(Instruction& one, const string& opcode);
  void plain(Instruction& one, const string& opcode);

  Lexer lex_;
  std::unique_ptr<Module> module_;
  Function* function_ = nullptr;
  std::map<string, int> functions_;
  std::map<string, uint32_t> shared_;  // variables of the module: bytes
  std::vector<std::unordered_map<string, Symbol>> scopes_;
  std::map<string, Rows> prefixes_;
  std::vector<uint32_t> names_{0, 0, 0, 0};
  std::map<std::pair<Rows, uint64_t>, Operand> constants_;
  std::map<string, int> labels_;
  std::vector<std::pair<int, string>> jumps_;
  std::vector<Reference> references_, pending_;
  std::map<std::pair<int, int>, int> at_;
  int place_ = -1;
};

}  // namespace ptx
