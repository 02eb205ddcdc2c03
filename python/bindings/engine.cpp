#include "anydraft/engine.h"

#include <pybind11/functional.h>
#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <algorithm>
#include <cstddef>
#include <tuple>

#include "anydraft/error.h"
#include "bind.h"
#include "bridge/slrs.h"
#include "dlpack.h"
#include "rows/random_source.h"

namespace anydraft::bindings {

// A range or a list: one name of a type for both.
class SlotSequence : public py::object {
 public:
  using py::object::object;
  explicit SlotSequence(const py::object& slots) : py::object(slots) {}
};

class OriginName : public py::str {
 public:
  using py::str::str;
};

}  // namespace anydraft::bindings

template <>
struct pybind11::detail::handle_type_name<anydraft::bindings::SlotSequence> {
  static constexpr auto name = const_name("collections.abc.Sequence[int]");
};
template <>
struct pybind11::detail::handle_type_name<anydraft::bindings::OriginName> {
  static constexpr auto name = const_name("typing.Literal['accepted', 'recovered', 'bonus']");
};

namespace anydraft::bindings {
namespace {

template <class T>
using Given = std::optional<std::shared_ptr<T>>;  // in signatures: T | None

template <class T>
std::shared_ptr<T> or_null(Given<T> given) {
  return std::move(given).value_or(nullptr);
}

// The slots to keep: a range where they lie in order.
SlotSequence keep_of(const Feed& feed) {
  const py::object leading = py::handle(reinterpret_cast<PyObject*>(&PyRange_Type))(feed.keep);
  if (feed.keep_also.empty()) return SlotSequence(leading);
  py::list slots(leading);
  for (int32_t slot : feed.keep_also) slots.append(slot);
  return SlotSequence(slots);
}

// One bridge's statistics by name; whole numbers stay whole.
using Told = py::typing::Dict<py::str, py::float_>;

py::typing::Dict<py::str, Told> bridges_of(const Stats& stats) {
  py::typing::Dict<py::str, Told> bridges;
  for (const BridgeStats& bridge : stats.bridges) {
    Told told;
    told["rounds"] = bridge.rounds;
    told["acceptance"] = bridge.acceptance;
    told["worth"] = bridge.worth;
    bridges[info_of(bridge.bridge).name] = told;
  }
  return bridges;
}

std::optional<const char*> finish_of(Finish finish) {
  static const char* const kReasons[] = {"", "stop", "length", "context", "cancelled", "error"};
  if (finish == Finish::kNot) return std::nullopt;
  return kReasons[static_cast<int>(finish)];
}

std::vector<std::tuple<int32_t, OriginName, const char*>> emitted_of(
    const std::vector<Emitted>& all, size_t from) {
  static const char* const kOrigins[] = {"accepted", "recovered", "bonus"};
  std::vector<std::tuple<int32_t, OriginName, const char*>> tokens;
  for (size_t i = from; i < all.size(); ++i) {
    tokens.emplace_back(all[i].token, OriginName(kOrigins[static_cast<int>(all[i].origin)]),
                        info_of(all[i].bridge).name);
  }
  return tokens;
}

void bind_options(py::module_& module) {
  py::class_<TreeShape>(module, "TreeShape")
      .def(
          py::init([](std::vector<int32_t> widths, int32_t max_nodes, int32_t depth, int32_t beam) {
            return TreeShape{std::move(widths), max_nodes, depth, beam};
          }),
          py::arg("widths") = std::vector<int32_t>{}, py::kw_only(), py::arg("max_nodes") = 0,
          py::arg("depth") = 0, py::arg("beam") = 0);
  py::class_<StopRule>(module, "StopRule")
      .def(py::init([](int32_t tokens, int32_t rows, int32_t terms) {
             return StopRule{tokens, rows, terms};
           }),
           py::kw_only(), py::arg("tokens") = StopRule{}.tokens, py::arg("rows") = StopRule{}.rows,
           py::arg("terms") = StopRule{}.terms);
  const DrafterOptions defaults;
  py::class_<DrafterOptions>(module, "DrafterOptions")
      .def(py::init([](const std::string& bridge, int32_t draft_length, double draft_cost,
                       std::vector<double> row_costs, bool auto_length, TreeShape tree,
                       StopRule stop_rule, int32_t scheme,
                       const std::optional<std::string>& verifier, double draft_confidence,
                       int64_t draft_context,
                       std::optional<std::function<TokenIds(const TokenIds&)>> expect,
                       Given<RandomSource> random_source) {
             DrafterOptions options;
             options.bridge = bridge_by_name(bridge);
             options.draft_length = draft_length;
             options.draft_cost = draft_cost;
             options.row_costs = std::move(row_costs);
             options.auto_length = auto_length;
             options.tree = std::move(tree);
             options.stop_rule = stop_rule;
             options.scheme = static_cast<ProposalKind>(scheme);
             if (verifier) options.verifier = verifier_by_name(*verifier);
             options.draft_confidence = draft_confidence;
             options.draft_context = draft_context;
             if (expect) options.expect = std::move(*expect);
             options.random_source = or_null(std::move(random_source));
             return options;
           }),
           py::kw_only(), py::arg("bridge") = "none",
           py::arg("draft_length") = defaults.draft_length,
           py::arg("draft_cost") = defaults.draft_cost,
           py::arg("row_costs") = std::vector<double>{}, py::arg("auto_length") = false,
           py::arg_v("tree", TreeShape{}, "TreeShape()"),
           py::arg_v("stop_rule", StopRule{}, "StopRule()"),
           py::arg("scheme") = static_cast<int32_t>(defaults.scheme),
           py::arg("verifier") = py::none(), py::arg("draft_confidence") = 0.0,
           py::arg("draft_context") = 0, py::arg("expect") = py::none(),
           py::arg("random_source") = py::none())
      .def_readonly("draft_cost", &DrafterOptions::draft_cost)
      .def_readonly("row_costs", &DrafterOptions::row_costs);
}

void bind_request(py::module_& module) {
  py::class_<LogitChanges>(module, "LogitChanges",
                           "What changes the target's logits before temperature and filters.")
      .def(py::init([](std::vector<std::pair<int32_t, float>> logit_bias, double repetition_penalty,
                       double frequency_penalty, double presence_penalty,
                       std::vector<TokenIds> bad_words, int32_t min_tokens,
                       std::optional<TokenIds> allowed) {
             LogitChanges changes{std::move(logit_bias), repetition_penalty,   frequency_penalty,
                                  presence_penalty,      std::move(bad_words), min_tokens,
                                  std::move(allowed)};
             changes.validate();
             return changes;
           }),
           py::kw_only(), py::arg("logit_bias") = std::vector<std::pair<int32_t, float>>{},
           py::arg("repetition_penalty") = 1.0, py::arg("frequency_penalty") = 0.0,
           py::arg("presence_penalty") = 0.0, py::arg("bad_words") = std::vector<TokenIds>{},
           py::arg("min_tokens") = 0, py::arg("allowed") = py::none())
      .def_property_readonly("any", &LogitChanges::any);
}

void bind_work(py::module_& module) {
  py::class_<Feed>(module, "Feed", R"(
What one call feeds to one request of a model.

Cut the request's cache to the slots `keep` (ascending; they move up to 0, 1, ...), then append
`tokens` at `positions` of the text. Each follows its parent in `parents` (index in this feed,
-1: the last slot kept) and sees it and all that it sees: siblings of a tree do not see each
other. Logits are wanted for the last `rows` tokens. `request` names the cache: the request's
id, for the drafter the id + 1.

>>> import torch
>>> from anydraft import SpeculativeSession, Vocabulary
>>> seen = []
>>> def model(feeds):
...     seen.extend((feed.tokens, list(feed.keep), feed.rows) for feed in feeds)
...     return torch.zeros(sum(feed.rows for feed in feeds), 2)
>>> model.vocabulary = Vocabulary.from_bytes(
...     [b"a", b"b"], encoder=lambda text: [ord(c) - 97 for c in text]
... )
>>> _ = SpeculativeSession(model).generate("ab", max_tokens=1)
>>> seen
[([0, 1], [], 1)]
)")
      .def_readonly("request", &Feed::request)
      .def_readonly("tokens", &Feed::tokens)
      .def_readonly("positions", &Feed::positions)
      .def_readonly("parents", &Feed::parents)
      .def_property_readonly("keep", keep_of)
      .def_readonly("rows", &Feed::rows);
  py::class_<Work>(module, "Work",
                   R"(What to run next: on the "drafter", the "target", or nothing ("idle").)")
      .def_property_readonly("model",
                             [](const Work& work) {
                               static const char* const kNames[] = {"idle", "drafter", "target"};
                               return kNames[static_cast<int>(work.model)];
                             })
      .def_readonly("feeds", &Work::feeds);
  py::class_<Stats>(module, "Stats")
      .def_readonly("target_calls", &Stats::target_calls)
      .def_readonly("draft_calls", &Stats::draft_calls)
      .def_readonly("drafted", &Stats::drafted)
      .def_readonly("accepted", &Stats::accepted)
      .def_readonly("distributions", &Stats::distributions)
      .def_readonly("stopped", &Stats::stopped)
      .def_property_readonly("bridges", bridges_of);
  py::class_<TokenLogprobs>(module, "TokenLogprobs")
      .def_readonly("logprob", &TokenLogprobs::logprob)
      .def_readonly("top", &TokenLogprobs::top);
}

using SharedVocabulary = std::shared_ptr<Vocabulary>;

void bind_engine_class(py::module_& module) {
  py::class_<Engine>(
      module, "Engine",
      "The decode loop without I/O: `next()` says what to feed to whom, `feed` takes logits.")
      .def(py::init([](SharedVocabulary target, Given<Vocabulary> drafter,
                       const DrafterOptions& options, int64_t target_context,
                       Given<VocabularyMap> map, Given<DraftTokenTrie> token_trie) {
             return std::make_unique<Engine>(std::move(target), or_null(std::move(drafter)),
                                             EngineOptions{options, target_context},
                                             or_null(std::move(map)),
                                             or_null(std::move(token_trie)));
           }),
           py::arg("target"), py::arg("drafter"), py::arg("options"), py::kw_only(),
           py::arg("target_context") = 0, py::arg("map") = py::none(),
           py::arg("token_trie") = py::none())
      .def(
          "add",
          [](Engine& engine, TokenIds prompt, SamplingParams sampling,
             std::optional<SamplingParams> draft_sampling, int32_t max_tokens, TokenIds stop,
             uint32_t random_stream, const LogitChanges& changes, int32_t logprobs) {
            return engine.add({{sampling, draft_sampling, std::move(stop), random_stream},
                               std::move(prompt),
                               max_tokens,
                               changes,
                               logprobs});
          },
          py::arg("prompt"), py::kw_only(), py::arg("sampling"),
          py::arg("draft_sampling") = py::none(), py::arg("max_tokens") = 256,
          py::arg("stop") = TokenIds{}, py::arg("random_stream") = 0,
          py::arg_v("changes", LogitChanges{}, "LogitChanges()"), py::arg("logprobs") = -1)
      .def("cancel", &Engine::cancel, py::arg("id"))
      .def("forget", &Engine::forget, py::arg("id"))
      .def("check", &Engine::check, py::arg("id"))
      .def("resume", &Engine::resume, py::arg("id"))
      .def("any_error", &Engine::any_error)
      .def(
          "next",
          [](Engine& engine, const std::optional<std::vector<int64_t>>& ids) {
            py::gil_scoped_release release;
            return ids ? engine.next(*ids) : engine.next();
          },
          py::arg("ids") = py::none())
      .def("failed", py::overload_cast<const Work&>(&Engine::failed), py::arg("work"))
      .def("drop", &Engine::drop, py::arg("work"), py::arg("id"))
      .def(
          "feed",
          [](Engine& engine, const Work& work, py::object logits, uint64_t stream) {
            const Rows rows = rows_from(logits, "Engine.feed");
            const std::shared_ptr<const void> owner = kept_alive(rows.owner);
            py::gil_scoped_release release;
            engine.feed(work, rows.view, owner, {rows.on_cuda, reinterpret_cast<void*>(stream)});
          },
          py::arg("work"), py::arg("logits"), py::arg("stream") = 0)
      .def(
          "emitted",
          [](const Engine& engine, int64_t id, size_t from) {
            return emitted_of(engine.emitted(id), from);
          },
          py::arg("id"), py::arg("from_index") = 0)
      .def(
          "logprobs",
          [](const Engine& engine, int64_t id, size_t from) {
            const std::vector<TokenLogprobs>& all = engine.logprobs(id);
            const auto first = static_cast<std::ptrdiff_t>(std::min(from, all.size()));
            return std::vector<TokenLogprobs>(all.begin() + first, all.end());
          },
          py::arg("id"), py::arg("from_index") = 0)
      .def(
          "finish", [](const Engine& engine, int64_t id) { return finish_of(engine.finish(id)); },
          py::arg("id"))
      .def("stats", &Engine::stats, py::arg("id"))
      .def("__len__", &Engine::size);
}

}  // namespace

void bind_engine(py::module_& module) {
  py::class_<RandomSource, std::shared_ptr<RandomSource>>(module, "RandomSource");
  module.def("bridges", [] {
    std::vector<std::tuple<std::string, bool, bool, bool, std::string>> all;
    for (const BridgeInfo& info : bridges()) {
      all.emplace_back(info.name, info.model, info.across, info.certain, info.source);
    }
    return all;
  });
  bind_options(module);
  bind_request(module);
  bind_work(module);
  bind_engine_class(module);
}

}  // namespace anydraft::bindings
