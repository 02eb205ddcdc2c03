// Any bytes, with a real vocabulary of every family ($ANYDRAFT_FUZZ_TABLES, a folder): exact ids
// join to exactly the bytes, and the owner's way never fails on valid text.
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "anydraft/error.h"
#include "anydraft/retokenizer.h"
#include "anydraft/vocabulary_file.h"

namespace {

const std::vector<anydraft::Vocabulary>& vocabularies() {
  static const auto* all = [] {
    auto* list = new std::vector<anydraft::Vocabulary>;
    for (const auto& entry :
         std::filesystem::directory_iterator(std::getenv("ANYDRAFT_FUZZ_TABLES"))) {
      list->push_back(anydraft::read_vocabulary(entry.path()));
    }
    return list;
  }();
  return *all;
}

void check(const anydraft::Vocabulary& vocabulary, std::string_view text) {
  try {
    const anydraft::TokenIds ids = vocabulary.encode(text);
    if (vocabulary.exact() && vocabulary.decode(ids) != text) std::abort();
    const size_t cut = text.empty() ? 0 : static_cast<uint8_t>(text[0]) * text.size() / 256;
    anydraft::Retokenizer retokenizer(vocabulary);
    retokenizer.feed(text.substr(0, cut));
    retokenizer.feed(text.substr(cut));
    if (retokenizer.ids() != ids) std::abort();
  } catch (const anydraft::Error&) {  // a byte that has no token
  }
  try {
    vocabulary.decode_as_owner(vocabulary.encode_as_owner(text));
  } catch (const anydraft::Error&) {  // no UTF-8
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  check(vocabularies()[data[0] % vocabularies().size()], text);
  return 0;
}
