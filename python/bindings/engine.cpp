#include "anydraft/engine.h"

#include <pybind11/stl.h>

#include "anydraft/error.h"
#include "bind.h"
#include "bridge/slrs.h"
#include "dlpack.h"
#include "draft/random_source.h"

namespace anydraft::bindings {
namespace {

// The slots to keep: a range where they lie in order.
py::object keep_of(const Feed& feed) {
  py::object leading = py::module_::import("builtins").attr("range")(feed.keep);
  if (feed.keep_also.empty()) return leading;
  py::list slots(leading);
  for (int32_t slot : feed.keep_also) slots.append(slot);
  return slots;
}

// A tensor for as long as its rows are read; let go of on any thread.
std::shared_ptr<const void> held(const py::object& owner) {
  return {new py::object(owner), [](const py::object* object) {
            const py::gil_scoped_acquire acquire;
            delete object;
          }};
}

py::dict bridges_of(const Stats& stats) {
  py::dict bridges;
  for (const BridgeStats& bridge : stats.bridges) {
    py::dict told;
    told["rounds"] = bridge.rounds;
    told["acceptance"] = bridge.acceptance;
    told["worth"] = bridge.worth;
    bridges[info_of(bridge.bridge).name] = told;
  }
  return bridges;
}

py::object finish_of(Finish finish) {
  static const char* const kReasons[] = {"", "stop", "length", "context", "cancelled", "error"};
  if (finish == Finish::kNot) return py::none();
  return py::str(kReasons[static_cast<int>(finish)]);
}

py::list emitted_of(const std::vector<Emitted>& all, size_t from) {
  static const char* const kOrigins[] = {"accepted", "recovered", "bonus"};
  py::list tokens;
  for (size_t i = from; i < all.size(); ++i) {
    tokens.append(py::make_tuple(all[i].token, kOrigins[static_cast<int>(all[i].origin)]));
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
                       int64_t draft_context, std::shared_ptr<RandomSource> random_source) {
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
             options.random_source = std::move(random_source);
             return options;
           }),
           py::kw_only(), py::arg("bridge") = "none",
           py::arg("draft_length") = defaults.draft_length,
           py::arg("draft_cost") = defaults.draft_cost,
           py::arg("row_costs") = std::vector<double>{}, py::arg("auto_length") = false,
           py::arg("tree") = TreeShape{}, py::arg("stop_rule") = StopRule{},
           py::arg("scheme") = static_cast<int32_t>(defaults.scheme),
           py::arg("verifier") = py::none(), py::arg("draft_confidence") = 0.0,
           py::arg("draft_context") = 0, py::arg("random_source") = nullptr);
}

void bind_request(py::module_& module) {
  py::class_<LogitChanges>(module, "LogitChanges")
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
  py::class_<Feed>(module, "Feed")
      .def_readonly("request", &Feed::request)
      .def_readonly("tokens", &Feed::tokens)
      .def_readonly("positions", &Feed::positions)
      .def_readonly("parents", &Feed::parents)
      .def_property_readonly("keep", keep_of)
      .def_readonly("rows", &Feed::rows);
  py::class_<Work>(module, "Work")
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
  py::class_<Engine>(module, "Engine")
      .def(py::init([](SharedVocabulary target, SharedVocabulary drafter,
                       const DrafterOptions& options, int64_t target_context,
                       std::shared_ptr<VocabularyMap> map,
                       std::shared_ptr<DraftTokenTrie> token_trie) {
             return std::make_unique<Engine>(std::move(target), std::move(drafter),
                                             EngineOptions{options, target_context}, std::move(map),
                                             std::move(token_trie));
           }),
           py::arg("target"), py::arg("drafter"), py::arg("options"), py::kw_only(),
           py::arg("target_context") = 0, py::arg("map") = nullptr, py::arg("token_trie") = nullptr)
      .def(
          "add",
          [](Engine& engine, TokenIds prompt, SamplingParams sampling,
             std::optional<SamplingParams> draft_sampling, int32_t max_tokens, TokenIds stop,
             uint32_t random_stream, const LogitChanges& changes, int32_t logprobs) {
            return engine.add({std::move(prompt), sampling, draft_sampling, max_tokens,
                               std::move(stop), random_stream, changes, logprobs});
          },
          py::arg("prompt"), py::kw_only(), py::arg("sampling"),
          py::arg("draft_sampling") = py::none(), py::arg("max_tokens") = 256,
          py::arg("stop") = TokenIds{}, py::arg("random_stream") = 0,
          py::arg("changes") = LogitChanges{}, py::arg("logprobs") = -1)
      .def("cancel", &Engine::cancel)
      .def("forget", &Engine::forget)
      .def("check", &Engine::check)
      .def("resume", &Engine::resume)
      .def(
          "next",
          [](Engine& engine, const std::optional<std::vector<int64_t>>& ids) {
            py::gil_scoped_release release;
            return ids ? engine.next(*ids) : engine.next();
          },
          py::arg("ids") = py::none())
      .def("failed", py::overload_cast<const Work&>(&Engine::failed))
      .def("drop", &Engine::drop)
      .def("feed",
           [](Engine& engine, const Work& work, py::object logits) {
             const Rows rows = cpu_rows_from(logits, "Engine.feed");
             const std::shared_ptr<const void> owner = held(rows.owner);
             py::gil_scoped_release release;
             engine.feed(work, rows.view, owner);
           })
      .def(
          "emitted",
          [](const Engine& engine, int64_t id, size_t from) {
            return emitted_of(engine.emitted(id), from);
          },
          py::arg("id"), py::arg("from_index") = 0)
      .def("logprobs", &Engine::logprobs)
      .def("finish", [](const Engine& engine, int64_t id) { return finish_of(engine.finish(id)); })
      .def("stats", &Engine::stats)
      .def("__len__", &Engine::size);
}

// A draft as `verify` takes it, with dense rows over `width` target ids.
py::tuple draft_of(const Drafter& drafter, int64_t id, int64_t width) {
  const Draft& draft = drafter.draft(id);
  const DraftTree& tree = draft.tree;
  std::vector<int32_t> kinds;
  for (ProposalKind kind : tree.kinds) kinds.push_back(static_cast<int32_t>(kind));
  std::vector<float> logits(draft.rows.size() * width);
  for (size_t row = 0; row < draft.rows.size(); ++row) {
    draft.write_logits(static_cast<int64_t>(row), width, logits.data() + row * width);
  }
  const py::bytes data(reinterpret_cast<const char*>(logits.data()), logits.size() * sizeof(float));
  return py::make_tuple(tree.tokens, tree.parents, tree.paths, kinds, tree.rows, data,
                        draft.rows.size(), draft.sampling);
}

void bind_drafter(py::module_& module) {
  py::class_<Drafter>(module, "Drafter")
      .def(py::init([](SharedVocabulary target, SharedVocabulary drafter,
                       const DrafterOptions& options) {
             return std::make_unique<Drafter>(std::move(target), std::move(drafter), options);
           }),
           py::arg("target"), py::arg("drafter"), py::arg("options"))
      .def(
          "add",
          [](Drafter& drafter, int64_t id, const SamplingParams& sampling,
             const std::optional<SamplingParams>& draft_sampling, TokenIds stop,
             uint32_t random_stream) {
            drafter.add(id, {sampling, draft_sampling, std::move(stop), random_stream});
          },
          py::arg("id"), py::kw_only(), py::arg("sampling"), py::arg("draft_sampling") = py::none(),
          py::arg("stop") = TokenIds{}, py::arg("random_stream") = 0)
      .def("has", &Drafter::has)
      .def("__len__", &Drafter::size)
      .def("forget", &Drafter::forget)
      .def("propose", &Drafter::propose, py::call_guard<py::gil_scoped_release>())
      .def("next", py::overload_cast<>(&Drafter::next, py::const_),
           py::call_guard<py::gil_scoped_release>())
      .def("feed",
           [](Drafter& drafter, const std::vector<Feed>& feeds, py::object logits) {
             const Rows rows = cpu_rows_from(logits, "Drafter.feed");
             const std::shared_ptr<const void> owner = held(rows.owner);
             py::gil_scoped_release release;
             drafter.feed(feeds, rows.view, owner);
           })
      .def("failed", &Drafter::failed)
      .def("check",
           [](const Drafter& drafter, int64_t id) {
             if (const std::exception_ptr error = drafter.error(id)) std::rethrow_exception(error);
           })
      .def("retry", &Drafter::retry)
      .def("draft", draft_of);
}

}  // namespace

void bind_engine(py::module_& module) {
  py::class_<RandomSource, std::shared_ptr<RandomSource>>(module, "RandomSource");
  bind_options(module);
  bind_request(module);
  bind_work(module);
  bind_engine_class(module);
  bind_drafter(module);
}

}  // namespace anydraft::bindings
