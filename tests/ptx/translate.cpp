// Reads PTX: declarations, scopes, statements.
#include "translate.h"

#include <cctype>
#include <cstring>
#include <stdexcept>
#include <unordered_map>

namespace ptx {
namespace {

using std::string;

uint32_t round_up(uint32_t size, uint32_t to) { return (size + to - 1) / to * to; }

Rows rows_of_type(const string& type) {
  if (type == ".pred") return Rows::kPredicate;
  return type.size() > 2 && type.substr(2) == "64" ? Rows::k64 : Rows::k32;
}
int bytes_of_type(const string& type) { return std::stoi(type.substr(2)) / 8; }

struct Symbol {
  enum Kind { kRegister, kLocal, kShared, kParam } kind;
  Rows rows;        // of a register
  uint32_t offset;  // of a variable; a register's number
  uint32_t size;
};

// Words, numbers, and single marks; comments are left out.
class Lexer {
 public:
  explicit Lexer(const string& text) : at_(text.c_str()), line_start_(at_) {}

  const string& peek() {
    if (!have_) read();
    return token_;
  }
  string take() {
    peek();
    have_ = false;
    return std::move(token_);
  }
  bool accept(const char* wanted) {
    if (peek() != wanted) return false;
    have_ = false;
    return true;
  }
  void expect(const char* wanted) {
    const string got = take();
    if (got != wanted) fail("expected " + string(wanted) + ", got " + got);
  }
  // What is left of the line.
  string line() {
    have_ = false;
    const char* begin = at_;
    while (*at_ && *at_ != '\n') ++at_;
    return string(begin, at_);
  }
  [[noreturn]] void fail(const string& what) const {
    throw std::runtime_error("[ptx] line " + std::to_string(number_) + ": " + what + "; near " +
                             string(at_, strnlen(at_, 60)));
  }

 private:
  void read() {
    have_ = true;
    for (;; ++at_) {
      if (*at_ == '\n') ++number_;
      if (*at_ == '/' && at_[1] == '/') {
        while (at_[1] && at_[1] != '\n') ++at_;
      } else if (!std::isspace(static_cast<unsigned char>(*at_))) {
        break;
      }
    }
    const char* begin = at_;
    const auto in_word = [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '.' ||
             c == '%';
    };
    if (*at_ == '"') {
      for (++at_; *at_ && *at_ != '"'; ++at_) {
      }
      ++at_;
    } else if (in_word(*at_)) {
      while (in_word(*at_)) ++at_;
    } else if (*at_) {
      ++at_;
    }
    token_.assign(begin, at_);
  }

  const char* at_;
  const char* line_start_;
  int number_ = 1;
  bool have_ = false;
  string token_;
};

class Translator {
 public:
  explicit Translator(const string& text) : lex_(text), module_(std::make_unique<Module>()) {}

  std::unique_ptr<Module> run() {
    while (!lex_.peek().empty()) {
      const string word = lex_.take();
      if (word == ".version" || word == ".target" || word == ".address_size") {
        lex_.line();
      } else if (word == ".file") {
        file();
      } else if (word == ".section") {
        while (!lex_.accept("}")) lex_.take();
      } else if (word == ".func" || word == ".entry") {
        function(word == ".entry");
      } else if (word != ".visible" && word != ".weak" && word != ".extern") {
        lex_.fail("cannot translate " + word);
      }
    }
    for (CallSite& call : module_->calls) {
      const auto found = functions_.find(call.name);
      if (found == functions_.end()) lex_.fail("no function " + call.name);
      call.function = found->second;
    }
    return std::move(module_);
  }

 private:
  // ---- Declarations
  // ------------------------------------------------------------------------------
  void file() {
    const int number = std::stoi(lex_.take());
    string name = lex_.take();
    module_->files[number] = name.substr(1, name.size() - 2);
    if (lex_.accept(",")) lex_.line();
  }

  // After .param, .local, .shared: [.align n] .type name[size]
  Symbol variable(Symbol::Kind kind, uint32_t& end, string& name) {
    uint32_t align = 0;
    if (lex_.accept(".align")) align = std::stoi(lex_.take());
    while (lex_.peek()[0] == '.' && !std::isdigit(static_cast<unsigned char>(lex_.peek().back()))) {
      lex_.take();  // .ptr and the like
    }
    const uint32_t element = bytes_of_type(lex_.take());
    name = lex_.take();
    uint32_t count = 1;
    if (lex_.accept("[")) {
      count = std::stoul(lex_.take());
      lex_.expect("]");
    }
    end = round_up(end, std::max(align, element));
    const Symbol symbol{kind, Rows::kNone, end, element * count};
    end += symbol.size;
    return symbol;
  }

  std::vector<Variable> parameters(Symbol::Kind kind, uint32_t& end) {
    std::vector<Variable> all;
    while (!lex_.accept(")")) {
      lex_.accept(",");
      lex_.expect(".param");
      string name;
      const Symbol symbol = variable(kind, end, name);
      scopes_.back()[name] = symbol;
      all.push_back({name, symbol.offset, symbol.size});
    }
    return all;
  }

  void function(bool entry) {
    Function one;
    one.is_entry = entry;
    one.first = static_cast<int>(module_->code.size());
    scopes_.assign(1, {});
    references_.clear(), labels_.clear(), jumps_.clear(), names_.assign(4, 0), prefixes_.clear();
    uint32_t params_end = 0;
    if (lex_.accept("(")) one.results = parameters(Symbol::kLocal, one.frame);
    one.name = lex_.take();
    if (lex_.accept("(")) {
      one.parameters =
          parameters(entry ? Symbol::kParam : Symbol::kLocal, entry ? params_end : one.frame);
    }
    while (lex_.peek()[0] == '.') {
      const string bound = lex_.take();
      if (bound == ".maxntid") {
        one.max_threads = std::stoi(lex_.take());
        while (lex_.accept(",")) one.max_threads *= std::stoi(lex_.take());
      } else if (bound == ".minnctapersm") {
        lex_.take();
      } else if (bound != ".noreturn") {
        lex_.fail("cannot translate " + bound);
      }
    }
    if (lex_.accept(";")) return;
    lex_.expect("{");
    function_ = &one;
    body();
    for (const auto& [instruction, label] : jumps_) {
      const auto found = labels_.find(label);
      if (found == labels_.end()) lex_.fail("no label " + label);
      module_->code[instruction].target = found->second;
    }
    one.frame = round_up(one.frame, 16);
    give_rows(*module_, one, references_);
    functions_[one.name] = static_cast<int>(module_->functions.size());
    module_->functions.push_back(one);
  }

  void registers() {
    const Rows rows = rows_of_type(lex_.take());
    do {
      const string name = lex_.take();
      if (lex_.accept("<")) {
        prefixes_[name] = rows;
        lex_.take();
        lex_.expect(">");
      } else {
        scopes_.back()[name] = {Symbol::kRegister, rows, next_name(rows), 0};
      }
    } while (lex_.accept(","));
    lex_.expect(";");
  }
  uint32_t next_name(Rows rows) { return names_[static_cast<int>(rows)]++; }

  const Symbol* find(const string& name) {
    for (size_t i = scopes_.size(); i-- > 0;) {
      const auto found = scopes_[i].find(name);
      if (found != scopes_[i].end()) return &found->second;
    }
    if (name[0] != '%') return nullptr;
    const size_t digits = name.find_first_of("0123456789");
    const auto prefix = prefixes_.find(name.substr(0, digits));
    if (prefix == prefixes_.end()) return nullptr;
    return &(scopes_[0][name] = {Symbol::kRegister, prefix->second, next_name(prefix->second), 0});
  }

  // ---- Statements
  // --------------------------------------------------------------------------------
  void body() {
    for (int depth = 1; depth > 0;) {
      if (lex_.accept("{")) {
        ++depth, scopes_.emplace_back();
      } else if (lex_.accept("}")) {
        --depth, scopes_.pop_back();
      } else {
        statement();
      }
    }
  }

  void statement() {
    string word = lex_.take();
    if (word == ".loc") return location(lex_.line());
    if (word == ".pragma") {
      lex_.take();
      return lex_.expect(";");
    }
    if (word == ".reg") return registers();
    if (word == ".local" || word == ".shared" || word == ".param") {
      string name;
      const Symbol symbol =
          variable(word == ".shared" ? Symbol::kShared : Symbol::kLocal,
                   word == ".shared" ? function_->shared : function_->frame, name);
      scopes_.back()[name] = symbol;
      return lex_.expect(";");
    }
    if (word[0] == '$' && lex_.accept(":")) {
      labels_[word] = static_cast<int>(module_->code.size());
      return;
    }
    Instruction one{};
    one.place = place_;
    for (Operand& operand : one.d) operand = -1;
    pending_.clear();
    if (word == "@") {
      one.guard_negated = lex_.accept("!");
      one.guard = register_of(lex_.take(), Rows::kPredicate, 8, false);
      word = lex_.take();
    }
    instruction(one, word);
    lex_.expect(";");
    const int at = static_cast<int>(module_->code.size());
    for (Reference& reference : pending_) {
      reference.instruction = at;
      references_.push_back(reference);
    }
    module_->code.push_back(one);
  }

  // "file line column[, function_name X, inlined_at file line column]"
  void location(const string& text) {
    int file = 0, line = 0, column = 0, from_file, from_line, from_column, from = -1;
    std::sscanf(text.c_str(), "%d %d %d", &file, &line, &column);
    const size_t inlined = text.find("inlined_at");
    if (inlined != string::npos && std::sscanf(text.c_str() + inlined, "inlined_at %d %d %d",
                                               &from_file, &from_line, &from_column) == 3) {
      const auto found = at_.find({from_file, from_line});
      if (found != at_.end()) from = found->second;
    }
    place_ = static_cast<int>(module_->places.size());
    module_->places.push_back({file, line, from});
    at_[{file, line}] = place_;
  }

  Operand register_of(const string& name, Rows rows, uint8_t slot, bool writes) {
    const Symbol* symbol = find(name);
    if (!symbol || symbol->kind != Symbol::kRegister) lex_.fail("no register " + name);
    if (rows != Rows::kNone && symbol->rows != rows) lex_.fail("another width than of " + name);
    pending_.push_back({0, slot, symbol->rows, writes});
    return static_cast<Operand>(symbol->offset);
  }
  Rows rows_of(const string& name) {
    const Symbol* symbol = find(name);
    return symbol && symbol->kind == Symbol::kRegister ? symbol->rows : Rows::kNone;
  }

  Operand constant(const string& text, bool negative, Rows rows) {
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

  // A register or a number; `rows` where a number needs it.
  Operand source(Rows rows, uint8_t slot) {
    const bool negative = lex_.accept("-");
    const string text = lex_.take();
    if (text[0] == '%') return register_of(text, Rows::kNone, slot, false);
    return constant(text, negative, rows);
  }
  void comma() { lex_.expect(","); }

  // [base+offset]
  void address(Instruction& one) {
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
  void variable_of(Instruction& one, const string& name) {
    const Symbol* symbol = find(name);
    if (!symbol || symbol->kind == Symbol::kRegister) lex_.fail("no variable " + name);
    one.base_is_variable = true;
    one.offset = symbol->offset;
    one.space = symbol->kind == Symbol::kLocal    ? Space::kLocal
                : symbol->kind == Symbol::kShared ? Space::kShared
                                                  : Space::kParam;
  }

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

// ---- Instructions
// --------------------------------------------------------------------------------
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

// Opcodes that compute, by their meanings' operands.
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
  const auto values = [&](bool writes) {
    const bool vector = lex_.accept("{");
    for (int i = 0; i < one.count; ++i) {
      if (i > 0) comma();
      Operand& operand = writes ? one.d[i] : one.s[i == 0 ? 1 : i];
      const uint8_t slot = static_cast<uint8_t>(writes ? i : 5 + i);
      if (slot > 7) {  // a store's fourth value goes to d[3]
        one.d[3] = register_of(lex_.take(), rows, 3, false);
        continue;
      }
      Operand& into = writes ? operand : one.s[1 + i];
      if (writes) {
        const string name = lex_.take();
        rows = rows_of(name);
        into = register_of(name, rows, slot, true);
      } else {
        if (lex_.peek()[0] == '%') rows = rows_of(lex_.peek());
        if (rows == Rows::kNone) rows = one.bytes == 8 ? Rows::k64 : Rows::k32;
        into = source(rows, slot);
      }
    }
    if (vector) lex_.expect("}");
  };
  if (one.op != Op::kStore) values(true), comma();
  address(one);
  if (!one.base_is_variable) one.space = space;
  if (one.op != Op::kLoad) comma();
  if (one.op == Op::kStore) values(false);
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

}  // namespace

std::unique_ptr<Module> translate(const std::string& text) { return Translator(text).run(); }

std::string Module::text_of(int place) const {
  string text;
  for (; place >= 0; place = places[place].from) {
    const auto file = files.find(places[place].file);
    string name = file == files.end() ? "?" : file->second;
    name = name.substr(name.rfind('/') + 1);
    text += (text.empty() ? "" : " < ") + name + ":" + std::to_string(places[place].line);
  }
  return text;
}

std::string Module::where(int instruction) const {
  string name;
  for (const Function& one : functions) {
    if (one.first <= instruction) name = one.name;
  }
  return text_of(code[instruction].place) + " in " + name;
}

}  // namespace ptx
