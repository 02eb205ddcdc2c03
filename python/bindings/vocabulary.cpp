#include "anydraft/vocabulary.h"

#include <pybind11/functional.h>
#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <functional>
#include <optional>

#include "anydraft/error.h"
#include "anydraft/retokenizer.h"
#include "bind.h"
#include "bridge/slrs.h"
#include "vocab/description.h"

namespace anydraft::bindings {

namespace py = pybind11;

namespace {

Vocabulary::Table table_of(const std::vector<py::bytes>& tokens,
                           std::map<std::string, int32_t> specials,
                           std::map<std::string, TokenIds> roles, TokenIds prefix,
                           TokenIds byte_fallbacks) {
  Vocabulary::Table table{
      {}, std::move(specials), std::move(roles), std::move(prefix), std::move(byte_fallbacks)};
  table.bytes.assign(tokens.begin(), tokens.end());
  return table;
}

// Options of one component: texts, and whole numbers (flags too); others are left out.
std::vector<detail::Component> components(const py::list& list) {
  std::vector<detail::Component> parts;
  for (const py::handle item : list) {
    detail::Component part;
    for (const auto& [key, value] : py::cast<py::dict>(item)) {
      const std::string name = py::cast<std::string>(key);
      if (py::isinstance<py::str>(value) || py::isinstance<py::bytes>(value)) {
        (name == "type" ? part.type : part.texts[name]) = py::cast<std::string>(value);
      } else if (py::isinstance<py::bool_>(value) || py::isinstance<py::int_>(value)) {
        part.numbers[name] = py::cast<int64_t>(value);
      }
    }
    parts.push_back(std::move(part));
  }
  return parts;
}

template <typename Enum>
Enum named(const py::dict& from, const char* key, const std::map<std::string, Enum>& names) {
  const std::string name = py::cast<std::string>(from[key]);
  const auto found = names.find(name);
  if (found == names.end()) {
    throw Error(ErrorKind::kUnsupportedTokenizer,
                std::string("[Vocabulary] expected a supported ") + key + ", got " + name);
  }
  return found->second;
}

template <typename T>
T value(const py::dict& from, const char* key, T otherwise) {
  return from.contains(key) ? py::cast<T>(from[key]) : otherwise;
}

detail::EncoderConfig config_of(const py::dict& from) {
  using detail::ModelKind;
  using detail::Owner;
  detail::EncoderConfig config;
  config.model = named<ModelKind>(from, "model",
                                  {{"BPE", ModelKind::kBpe},
                                   {"Unigram", ModelKind::kUnigram},
                                   {"WordPiece", ModelKind::kWordPiece}});
  config.owner = named<Owner>(from, "owner",
                              {{"tokenizers", Owner::kTokenizers},
                               {"tiktoken", Owner::kTiktoken},
                               {"sentencepiece", Owner::kSentencePiece}});
  config.ignore_merges = value(from, "ignore_merges", false);
  config.fuse_unk = value(from, "fuse_unk", false);
  config.byte_fallback = value(from, "byte_fallback", false);
  config.unk_id = static_cast<uint32_t>(value<int64_t>(from, "unk_id", detail::kNoId));
  config.max_word_chars = value<uint32_t>(from, "max_input_chars_per_word", 100);
  config.tie_bits = value<uint32_t>(from, "tie_bits", 0);
  config.unk_score = value(from, "unk_score", 0.0);
  config.affixes = (value(from, "ends", false) ? uint32_t{detail::kAffixEnd} : 0) |
                   (value(from, "continues", false) ? uint32_t{detail::kAffixContinues} : 0);
  return config;
}

Vocabulary build_of(const py::typing::Dict<py::str, py::object>& from) {
  detail::Description description;
  description.table =
      table_of(py::cast<std::vector<py::bytes>>(from["tokens"]),
               py::cast<std::map<std::string, int32_t>>(from["specials"]),
               py::cast<std::map<std::string, TokenIds>>(from["roles"]),
               py::cast<TokenIds>(from["prefix"]), py::cast<TokenIds>(from["byte_fallbacks"]));
  description.config = config_of(from);
  description.normalizer = components(from["normalizer"]);
  description.pre_tokenizer = components(from["pre_tokenizer"]);
  description.decoder = components(from["decoder"]);
  for (const py::handle item : py::cast<py::list>(from["added"])) {
    const auto token = py::cast<std::tuple<std::string, uint32_t, uint32_t>>(item);
    description.added.push_back({std::get<0>(token), std::get<1>(token), std::get<2>(token)});
  }
  const std::string in_model = py::cast<py::bytes>(from["in_model"]);
  description.in_model.assign(in_model.begin(), in_model.end());
  description.words = value(from, "words", std::vector<std::string>());
  description.continuing_prefix = value(from, "continuing_subword_prefix", std::string());
  description.merges = value(from, "merges", std::vector<std::array<uint32_t, 3>>());
  description.ranks = value(from, "ranks", std::vector<uint32_t>());
  description.scores = value(from, "scores", std::vector<double>());
  description.charsmap = value(from, "charsmap", std::string());
  return Vocabulary(detail::build_tables(description));
}

Vocabulary build(const py::typing::Dict<py::str, py::object>& from) {
  try {
    return build_of(from);
  } catch (const py::cast_error& error) {  // a field of another type
    throw Error(ErrorKind::kVocabulary,
                "[Vocabulary] expected a whole description of a tokeniser, got one with a field of "
                "another type: " +
                    std::string(error.what()));
  }
}

// What a function of Python's does wrong is an error of its vocabulary, which drafting takes for
// text that cannot be spelt; an interrupt passes.
TokenIds encoded(const std::function<TokenIds(std::string)>& encoder, std::string_view text) {
  try {
    return encoder(std::string(text));
  } catch (const py::error_already_set& error) {
    const py::gil_scoped_acquire acquire;
    if (!error.matches(PyExc_Exception)) throw;
    throw Error(ErrorKind::kVocabulary, py::str(error.value()).cast<std::string>());
  }
}

std::optional<py::bytes> bytes_of(const Vocabulary& vocabulary, int32_t id) {
  if (id < 0 || id >= vocabulary.size()) {
    throw Error(ErrorKind::kValue, "[Vocabulary.token_bytes] expected an id in [0, " +
                                       std::to_string(vocabulary.size()) + "), got " +
                                       std::to_string(id));
  }
  const std::string_view bytes = vocabulary.token_bytes(id);
  if (bytes.empty()) return std::nullopt;
  return py::bytes(bytes.data(), bytes.size());
}

}  // namespace

void bind_vocabulary(py::module_& module) {
  using Shared = std::shared_ptr<Vocabulary>;
  py::class_<Vocabulary, Shared>(module, "VocabularyTable")
      .def(
          py::init([](const std::vector<py::bytes>& tokens, std::map<std::string, int32_t> specials,
                      std::map<std::string, TokenIds> roles, TokenIds prefix,
                      TokenIds byte_fallbacks, std::function<TokenIds(std::string)> encoder) {
            return std::make_shared<Vocabulary>(
                table_of(tokens, std::move(specials), std::move(roles), std::move(prefix),
                         std::move(byte_fallbacks)),
                [encoder](std::string_view text) { return encoded(encoder, text); });
          }),
          py::arg("tokens"), py::arg("specials"), py::arg("roles"), py::arg("prefix"),
          py::arg("byte_fallbacks"), py::arg("encoder"))
      .def_static("build", &build, py::arg("description"))
      .def_property_readonly("size", &Vocabulary::size)
      .def_property_readonly("native", &Vocabulary::native)
      .def_property_readonly("exact", &Vocabulary::exact)
      .def("token_bytes", &bytes_of, py::arg("token"))
      .def(
          "encode", [](const Vocabulary& v, const py::bytes& data) { return v.encode(data); },
          py::arg("data"))
      .def(
          "encode_as_owner",
          [](const Vocabulary& v, const py::bytes& text, bool specials) {
            return v.encode_as_owner(text, specials);
          },
          py::arg("text"), py::arg("specials"))
      .def(
          "decode",
          [](const Vocabulary& v, const TokenIds& ids) { return py::bytes(v.decode(ids)); },
          py::arg("ids"))
      .def("decode_as_owner", &Vocabulary::decode_as_owner, py::arg("ids"),
           py::arg("skip_specials"))
      .def_property_readonly("specials", &Vocabulary::specials)
      .def_property_readonly("prefix", &Vocabulary::prefix)
      .def("role", &Vocabulary::role, py::arg("name"))
      .def("__eq__", [](const Vocabulary& a, const py::object& b) {
        return py::isinstance<Vocabulary>(b) && a == b.cast<const Vocabulary&>();
      });
  py::class_<VocabularyMap, std::shared_ptr<VocabularyMap>>(module, "VocabularyMapTable")
      .def(py::init<const Vocabulary&, const Vocabulary&>(), py::arg("draft"), py::arg("target"))
      .def_readonly("shared", &VocabularyMap::shared)
      .def_readonly("to_target", &VocabularyMap::to_target)
      .def_readonly("to_draft", &VocabularyMap::to_draft);
  py::class_<Retokenizer>(
      module, "Retokenizer",
      "Text in, piece by piece; the tokens of all of it out, as if it had come at once.")
      .def(py::init([](const Vocabulary& vocabulary) { return Retokenizer(vocabulary); }),
           py::arg("vocabulary"))
      .def(
          "feed", [](Retokenizer& r, const py::bytes& data) { r.feed(data); }, py::arg("data"))
      .def("feed_special", &Retokenizer::feed_special, py::arg("token"))
      .def("clear", &Retokenizer::clear)
      .def_property_readonly("ids", &Retokenizer::ids)
      .def_property_readonly("ends", &Retokenizer::ends)
      .def_property_readonly("stable", &Retokenizer::stable);
  py::class_<DraftTokenTrie, std::shared_ptr<DraftTokenTrie>>(
      module, "DraftTokenTrie", "What each drafter token spells in the target's tokens.")
      .def(py::init<const Vocabulary&, const Vocabulary&, const VocabularyMap&>(), py::arg("draft"),
           py::arg("target"), py::arg("map"))
      .def_property_readonly("size", &DraftTokenTrie::size);
  module.def(
      "complete_utf8", [](const py::bytes& data) { return complete_utf8(std::string_view(data)); },
      py::arg("data"));
}

}  // namespace anydraft::bindings
