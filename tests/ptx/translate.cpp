#include "translator.h"

namespace ptx {

std::unique_ptr<Module> Translator::run() {
  while (!lex_.peek().empty()) {
    const string word = lex_.take();
    if (word == ".target") {
      module_->capability = std::stoi(lex_.take().substr(3));  // sm_90, sm_90a
      lex_.line();
    } else if (word == ".version" || word == ".address_size") {
      lex_.line();
    } else if (word == ".file") {
      file();
    } else if (word == ".section") {
      while (!lex_.accept("}")) lex_.take();
    } else if (word == ".func" || word == ".entry") {
      function(word == ".entry");
    } else if (word == ".shared") {
      uint32_t end = 0;
      string name;
      const Symbol symbol = variable(Symbol::kShared, end, name);
      shared_[name] = symbol.size;
      lex_.expect(";");
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

void Translator::file() {
  const int number = std::stoi(lex_.take());
  string name = lex_.take();
  module_->files[number] = name.substr(1, name.size() - 2);
  if (lex_.accept(",")) lex_.line();
}

// After .param, .local, .shared: [.align n] .type name[size]
Symbol Translator::variable(Symbol::Kind kind, uint32_t& end, string& name) {
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

std::vector<Variable> Translator::parameters(Symbol::Kind kind, uint32_t& end) {
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

void Translator::function(bool entry) {
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

void Translator::registers() {
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

uint32_t Translator::next_name(Rows rows) { return names_[static_cast<int>(rows)]++; }

const Symbol* Translator::find(const string& name) {
  for (size_t i = scopes_.size(); i-- > 0;) {
    const auto found = scopes_[i].find(name);
    if (found != scopes_[i].end()) return &found->second;
  }
  const auto shared = shared_.find(name);
  if (shared != shared_.end()) {  // of the module: takes space in its users
    const uint32_t at = round_up(function_->shared, 16);
    function_->shared = at + shared->second;
    return &(scopes_[0][name] = {Symbol::kShared, Rows::kNone, at, shared->second});
  }
  if (name[0] != '%') return nullptr;
  const size_t digits = name.find_first_of("0123456789");
  const auto prefix = prefixes_.find(name.substr(0, digits));
  if (prefix == prefixes_.end()) return nullptr;
  return &(scopes_[0][name] = {Symbol::kRegister, prefix->second, next_name(prefix->second), 0});
}

void Translator::body() {
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

void Translator::statement() {
  string word = lex_.take();
  if (word == ".loc") return location(lex_.line());
  if (word == ".pragma") {
    lex_.take();
    return lex_.expect(";");
  }
  if (word == ".reg") return registers();
  if (word == ".local" || word == ".shared" || word == ".param") {
    string name;
    const Symbol symbol = variable(word == ".shared" ? Symbol::kShared : Symbol::kLocal,
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
void Translator::location(const string& text) {
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
