#include "anydraft/vocabulary.h"

#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include <optional>

#include "anydraft/error.h"
#include "bind.h"
#include "bridge/slrs.h"

namespace anydraft::bindings {

namespace py = pybind11;

void bind_vocabulary(py::module_& module) {
  using Shared = std::shared_ptr<Vocabulary>;
  py::class_<Vocabulary, Shared>(module, "VocabularyTable")
      .def(
          py::init([](const std::vector<py::bytes>& tokens, std::map<std::string, int32_t> specials,
                      std::map<std::string, TokenIds> roles, TokenIds prefix,
                      TokenIds byte_fallbacks, std::function<TokenIds(std::string)> encoder) {
            Vocabulary::Table table{{},
                                    std::move(specials),
                                    std::move(roles),
                                    std::move(prefix),
                                    std::move(byte_fallbacks)};
            table.bytes.assign(tokens.begin(), tokens.end());
            return std::make_shared<Vocabulary>(std::move(table), [encoder](std::string_view text) {
              return encoder(std::string(text));
            });
          }))
      .def_property_readonly("size", &Vocabulary::size)
      .def("token_bytes",
           [](const Vocabulary& v, int32_t id) -> std::optional<py::bytes> {
             if (id < 0 || id >= v.size()) {
               throw Error(ErrorKind::kValue, "[Vocabulary.token_bytes] expected an id in [0, " +
                                                  std::to_string(v.size()) + "), got " +
                                                  std::to_string(id));
             }
             if (v.token_bytes(id).empty()) return std::nullopt;
             return py::bytes(v.token_bytes(id));
           })
      .def("encode", [](const Vocabulary& v, const std::string& bytes) { return v.encode(bytes); })
      .def("decode",
           [](const Vocabulary& v, const TokenIds& ids) { return py::bytes(v.decode(ids)); })
      .def_property_readonly("specials", &Vocabulary::specials)
      .def_property_readonly("prefix", &Vocabulary::prefix)
      .def("role", &Vocabulary::role)
      .def("is_special", &Vocabulary::is_special)
      .def("__eq__", [](const Vocabulary& a, const Vocabulary& b) { return a == b; });
  py::class_<VocabularyMap, std::shared_ptr<VocabularyMap>>(module, "VocabularyMapTable")
      .def(py::init<const Vocabulary&, const Vocabulary&>(), py::arg("draft"), py::arg("target"))
      .def_readonly("shared", &VocabularyMap::shared)
      .def_readonly("to_target", &VocabularyMap::to_target)
      .def_readonly("to_draft", &VocabularyMap::to_draft);
  py::class_<Spellings, std::shared_ptr<Spellings>>(module, "Spellings")
      .def(py::init<const Vocabulary&, const Vocabulary&, const VocabularyMap&>(), py::arg("draft"),
           py::arg("target"), py::arg("map"))
      .def_property_readonly("size", &Spellings::size)
      .def("of", &Spellings::of);
  module.def("complete_utf8", [](const std::string& bytes) { return complete_utf8(bytes); });
}

}  // namespace anydraft::bindings
