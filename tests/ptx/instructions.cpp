// Operands and instructions.
#include "translator.h"

namespace ptx {

Operand Translator::register_of(const string& name, Rows rows, uint8_t slot, bool writes) {
  const Symbol* symbol = find(name);
  if (!symbol || symbol->kind != Symbol::kRegister) lex_.fail("no register " + name);
  if (rows != Rows::kNone && symbol->rows != rows) lex_.fail("another width than of " + name);
  pending_.push_back({0, slot, symbol->rows, writes});
  return static_cast<Operand>(symbol->offset);
}

Rows Translator::rows_of(const string& name) {
  const Symbol* symbol = find(name);
  return symbol && symbol->kind == Symbol::kRegister ? symbol->rows : Rows::kNone;
}

Operand Translator::constant(const string& text, bool negative, Rows rows) {
  uint64_t value;
  if (text[0] == '0' && (text[1] == 'f' || text[1] == 'd')) {
    value = std::stoull(text.substr(2), nullptr, 16);
  } else if (std::isdigit(static_cast<unsigned char>(text[0]))) {
    value = std::stoull(text, nullptr, 0);
  } else {
    lex_.fail("no such operand: " + text);
  }
  if (negative) value = -value;
  if (rows == Rows::kPredicate) return ~static_cast<Operand>(value ? 1 : 0);
  if (rows == Rows::k32) value = static_cast<uint32_t>(value);
  const auto key = std::make_pair(rows, value);
  const auto found = constants_.find(key);
  if (found != constants_.end()) return found->second;
  Operand row;
  if (rows == Rows::k64) {
    row = ~static_cast<Operand>(module_->constants64.size() / kLanes);
    module_->constants64.insert(module_->constants64.end(), kLanes, value);
  } else {
    row = ~static_cast<Operand>(module_->constants32.size() / kLanes);
    module_->constants32.insert(module_->constants32.end(), kLanes, static_cast<uint32_t>(value));
  }
  return constants_[key] = row;
}

// Reads a register or a number. `rows`: the kind of row for a number.
Operand Translator::source(Rows rows, uint8_t slot) {
  const bool negative = lex_.accept("-");
  const string text = lex_.take();
  if (text[0] == '%') return register_of(text, Rows::kNone, slot, false);
  return constant(text, negative, rows);
}

void Translator::comma() { lex_.expect(","); }

// [base+offset]
void Translator::address(Instruction& one) {
  lex_.expect("[");
  const string base = lex_.take();
  if (base[0] == '%') {
    one.s[0] = register_of(base, Rows::kNone, 4, false);
    one.base_is_narrow = rows_of(base) == Rows::k32;
  } else {
    variable_of(one, base);
  }
  if (lex_.accept("+")) {
    const bool negative = lex_.accept("-");
    const int64_t by = std::stoll(lex_.take());
    one.offset += negative ? -by : by;
  }
  lex_.expect("]");
}

void Translator::variable_of(Instruction& one, const string& name) {
  const Symbol* symbol = find(name);
  if (!symbol || symbol->kind == Symbol::kRegister) lex_.fail("no variable " + name);
  one.base_is_variable = true;
  one.offset = symbol->offset;
  one.space = symbol->kind == Symbol::kLocal    ? Space::kLocal
              : symbol->kind == Symbol::kShared ? Space::kShared
                                                : Space::kParam;
}

void Translator::instruction(Instruction& one, const string& opcode) {
  const string head = opcode.substr(0, opcode.find('.'));
  if (head == "ld" || head == "st" || head == "atom") return memory(one, opcode);
  if (head == "mov") return move(one, opcode);
  if (head == "call") return call(one);
  if (opcode == "shfl.sync.bfly.b32") return shuffle(one);
  static const std::map<string, Op> kPlain{
      {"bra", Op::kBranch},
      {"bra.uni", Op::kBranch},
      {"ret", Op::kReturn},
      {"bar.sync", Op::kBarrier},
      {"bar.red.and.pred", Op::kBarrierAnd},
      {"barrier.cluster.arrive", Op::kClusterArrive},
      {"barrier.cluster.wait", Op::kClusterWait},
      {"membar.gl", Op::kFence},
      {"fence.acq_rel.gpu", Op::kFence},
      {"griddepcontrol.launch_dependents", Op::kLaunchDependents},
      {"griddepcontrol.wait", Op::kGridWait},
      {"mapa.u64", Op::kMapa}};
  const auto found = kPlain.find(opcode);
  if (found == kPlain.end()) return compute(one, opcode);
  one.op = found->second;
  plain(one, opcode);
}

void Translator::plain(Instruction& one, const string& opcode) {
  if (one.op == Op::kBranch) {
    jumps_.push_back({static_cast<int>(module_->code.size()), lex_.take()});
  } else if (one.op == Op::kMapa) {
    one.d[0] = register_of(lex_.take(), Rows::k64, 0, true);
    comma();
    one.s[0] = source(Rows::k64, 4);
    comma();
    one.s[1] = source(Rows::k32, 5);
  } else if (one.op == Op::kBarrier || one.op == Op::kBarrierAnd) {
    if (one.op == Op::kBarrierAnd) {
      one.d[0] = register_of(lex_.take(), Rows::kPredicate, 0, true);
      comma();
    }
    if (lex_.take() != "0") lex_.fail("barrier 0 is expected of " + opcode);
    if (one.op == Op::kBarrierAnd) {
      comma();
      one.s[0] = source(Rows::kPredicate, 4);
    }
  }
}

// Opcodes that compute. Their table entry lists the operands.
void Translator::compute(Instruction& one, const string& opcode) {
  const Meaning* meaning = meaning_of(opcode);
  if (!meaning) lex_.fail("cannot translate " + opcode);
  one.op = Op::kCompute;
  one.compute = meaning->compute;
  if (meaning->operands[0] == '?') {  // a conversion
    const string to = lex_.take();
    one.d[0] = register_of(to, Rows::kNone, 0, true);
    comma();
    const string from = lex_.take();
    one.s[0] = register_of(from, Rows::kNone, 4, false);
    one.count = rows_of(to) == Rows::k64 ? 8 : 4;
    one.bytes = rows_of(from) == Rows::k64 ? 8 : 4;
    return;
  }
  const auto rows = [](char kind) {
    return kind == 'd' ? Rows::k64 : kind == 'p' ? Rows::kPredicate : Rows::k32;
  };
  const char* kind = meaning->operands;
  for (int at = 0; *kind != ':'; ++kind, ++at) {
    one.d[at] = register_of(lex_.take(), rows(*kind), at, true);
    comma();
  }
  for (++kind; *kind; ++kind) {
    if (one.count > 0) comma();
    const size_t before = pending_.size();
    one.s[one.count] = source(rows(*kind), 4 + one.count);
    if (pending_.size() > before && pending_.back().rows != rows(*kind)) {
      lex_.fail("another width of an operand than " + opcode + " has");
    }
    ++one.count;
  }
}

void Translator::move(Instruction& one, const string& opcode) {
  if (lex_.accept("{")) {
    one.op = Op::kCompute;
    one.compute = meaning_of("mov.b64 unpack")->compute;
    one.d[0] = register_of(lex_.take(), Rows::k32, 0, true);
    comma();
    one.d[1] = register_of(lex_.take(), Rows::k32, 1, true);
    lex_.expect("}");
    comma();
    one.s[0] = source(Rows::k64, 4);
    return;
  }
  const string to = lex_.take();
  const Rows rows = rows_of(to);
  one.d[0] = register_of(to, Rows::kNone, 0, true);
  comma();
  if (lex_.accept("{")) {
    one.op = Op::kCompute;
    one.compute = meaning_of("mov.b64 pack")->compute;
    one.s[0] = source(Rows::k32, 4);
    comma();
    one.s[1] = source(Rows::k32, 5);
    return lex_.expect("}");
  }
  static const char* const kSpecial[] = {"%tid.x", "%ntid.x", "%ctaid.x", "%nctaid.x", "%laneid"};
  for (int i = 0; i < 5; ++i) {
    if (lex_.peek() != kSpecial[i]) continue;
    lex_.take();
    one.op = Op::kSpecial;
    one.offset = i;
    return;
  }
  if (lex_.peek()[0] == '_' || std::isalpha(static_cast<unsigned char>(lex_.peek()[0]))) {
    one.op = Op::kAddress;
    one.rows = rows;
    return variable_of(one, lex_.take());
  }
  const Meaning* meaning = meaning_of(opcode);
  if (!meaning) lex_.fail("cannot translate " + opcode);
  one.op = Op::kCompute;
  one.compute = meaning->compute;
  one.count = 1;
  one.s[0] = source(rows, 4);
}

void Translator::memory(Instruction& one, const string& opcode) {
  std::vector<string> parts;
  for (size_t at = 0; at != string::npos;) {
    const size_t end = opcode.find('.', at + 1);
    parts.push_back(opcode.substr(at, end == string::npos ? end : end - at));
    at = end;
  }
  one.op = parts[0] == "ld" ? Op::kLoad : parts[0] == "st" ? Op::kStore : Op::kAtomicAdd;
  const string type = parts.back();
  if (one.op == Op::kAtomicAdd && (opcode != "atom.add.u64"))
    lex_.fail("cannot translate " + opcode);
  one.bytes = static_cast<uint8_t>(bytes_of_type(type));
  one.is_signed = type[1] == 's';
  one.count = 1;
  Space space = Space::kGeneric;
  for (size_t i = 1; i + 1 < parts.size(); ++i) {
    const string& part = parts[i];
    if (part == ".global") space = Space::kGlobal;
    if (part == ".shared") space = Space::kShared;
    if (part == ".local") space = Space::kLocal;
    if (part == ".param") space = Space::kParam;
    if (part[1] == 'v' && part.size() == 3) one.count = static_cast<uint8_t>(part[2] - '0');
  }
  Rows rows = Rows::kNone;
  const auto value = [&](int at) {
    if (lex_.peek()[0] == '%') rows = rows_of(lex_.peek());
    if (rows == Rows::kNone) rows = one.bytes == 8 ? Rows::k64 : Rows::k32;
    if (one.op != Op::kStore) {
      one.d[at] = register_of(lex_.take(), rows, static_cast<uint8_t>(at), true);
    } else if (at < 3) {
      one.s[1 + at] = source(rows, static_cast<uint8_t>(5 + at));
    } else {  // a store's fourth value
      one.d[3] = register_of(lex_.take(), rows, 3, false);
    }
  };
  const auto values = [&] {
    const bool vector = lex_.accept("{");
    for (int i = 0; i < one.count; ++i) {
      if (i > 0) comma();
      value(i);
    }
    if (vector) lex_.expect("}");
  };
  if (one.op != Op::kStore) values(), comma();
  address(one);
  if (!one.base_is_variable) one.space = space;
  if (one.op != Op::kLoad) comma();
  if (one.op == Op::kStore) values();
  if (one.op == Op::kAtomicAdd) one.s[1] = source(Rows::k64, 5);
  one.rows = rows;
}

// d[|p], a, b, clamp, members
void Translator::shuffle(Instruction& one) {
  one.op = Op::kShuffle;
  one.d[0] = register_of(lex_.take(), Rows::k32, 0, true);
  if (lex_.accept("|")) one.d[1] = register_of(lex_.take(), Rows::kPredicate, 1, true);
  for (int i = 0; i < 4; ++i) {
    comma();
    one.s[i] = source(Rows::k32, static_cast<uint8_t>(4 + i));
  }
}

void Translator::call(Instruction& one) {
  one.op = Op::kCall;
  CallSite site;
  const auto list = [&](std::vector<uint32_t>& offsets) {
    while (!lex_.accept(")")) {
      lex_.accept(",");
      const string name = lex_.take();
      const Symbol* symbol = find(name);
      if (!symbol || symbol->kind != Symbol::kLocal) lex_.fail("no argument " + name);
      offsets.push_back(symbol->offset);
    }
  };
  if (lex_.accept("(")) list(site.results), comma();
  site.name = lex_.take();
  if (lex_.accept(",")) {
    lex_.expect("(");
    list(site.arguments);
  }
  one.target = static_cast<int>(module_->calls.size());
  module_->calls.push_back(site);
}

}  // namespace ptx
