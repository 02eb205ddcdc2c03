#include "anydraft/session.h"

#include <pybind11/stl.h>

#include "anydraft/error.h"
#include "bind.h"
#include "bridge/slrs.h"
#include "dlpack.h"
#include "session/random_source.h"

namespace anydraft::bindings {
namespace {

template <class Enum>
Enum by_name(const std::string& what, const std::string& name,
             std::initializer_list<const char*> names) {
  int index = 0;
  std::string known;
  for (const char* candidate : names) {
    if (name == candidate) return static_cast<Enum>(index);
    known += (index++ ? ", " : "") + std::string(candidate);
  }
  throw Error(ErrorKind::kValue,
              "[Session] expected " + what + " out of " + known + ", got " + name);
}

// The slots to keep: a range where they lie in order.
py::object keep_of(const Feed& feed) {
  py::object leading = py::module_::import("builtins").attr("range")(feed.keep);
  if (feed.keep_also.empty()) return leading;
  py::list slots(leading);
  for (int32_t slot : feed.keep_also) slots.append(slot);
  return slots;
}

}  // namespace

void bind_session(py::module_& module) {
  py::class_<Feed>(module, "Feed")
      .def_readonly("request", &Feed::request)
      .def_readonly("tokens", &Feed::tokens)
      .def_readonly("positions", &Feed::positions)
      .def_readonly("parents", &Feed::parents)
      .def_property_readonly("keep", keep_of)
      .def_readonly("rows", &Feed::rows);
  py::class_<Stats>(module, "Stats")
      .def_readonly("target_calls", &Stats::target_calls)
      .def_readonly("draft_calls", &Stats::draft_calls)
      .def_readonly("drafted", &Stats::drafted)
      .def_readonly("accepted", &Stats::accepted)
      .def_readonly("distributions", &Stats::distributions)
      .def_readonly("stopped", &Stats::stopped)
      .def_property_readonly("bridges", [](const Stats& stats) {
        static const char* const kNames[] = {"none", "same", "tli", "slem", "slrs"};
        py::dict bridges;
        for (const BridgeStats& bridge : stats.bridges) {
          py::dict told;
          told["rounds"] = bridge.rounds;
          told["acceptance"] = bridge.acceptance;
          told["worth"] = bridge.worth;
          bridges[kNames[static_cast<int>(bridge.bridge)]] = told;
        }
        return bridges;
      });
  py::class_<RandomSource, std::shared_ptr<RandomSource>>(module, "RandomSource");
  using Shared = std::shared_ptr<Vocabulary>;
  py::class_<Session>(module, "Session")
      .def(
          py::init(
              [](Shared target, Shared drafter, const std::string& bridge, int32_t draft_length,
                 double draft_confidence, int64_t target_context, int64_t draft_context,
                 std::shared_ptr<VocabularyMap> map, std::shared_ptr<DraftTokenTrie> token_trie,
                 const std::vector<int32_t>& widths, int32_t max_nodes, int32_t depth, int32_t beam,
                 int32_t distribution, const std::optional<std::string>& verifier,
                 int32_t stop_tokens, int32_t draft_budget, int32_t draft_terms,
                 std::shared_ptr<RandomSource> random_source, bool auto_length, double draft_cost) {
                SessionOptions options;
                options.auto_length = auto_length;
                options.draft_cost = draft_cost;
                options.tree = {widths, max_nodes, depth, beam};
                options.scheme = static_cast<ProposalKind>(distribution);
                if (verifier) options.verifier = verifier_by_name(*verifier);
                options.bridge = by_name<Bridge>(
                    "a bridge", bridge, {"none", "same", "tli", "slem", "slrs", "auto", "lookup"});
                options.draft_length = draft_length;
                options.stop_rule = {stop_tokens, draft_budget, draft_terms};
                options.random_source = std::move(random_source);
                options.draft_confidence = draft_confidence;
                options.target_context = target_context;
                options.draft_context = draft_context;
                return std::make_unique<Session>(std::move(target), std::move(drafter), options,
                                                 std::move(map), std::move(token_trie));
              }),
          py::arg("target"), py::arg("drafter"), py::kw_only(), py::arg("bridge"),
          py::arg("draft_length"), py::arg("draft_confidence") = 0.0, py::arg("target_context") = 0,
          py::arg("draft_context") = 0, py::arg("map") = nullptr, py::arg("token_trie") = nullptr,
          py::arg("widths") = std::vector<int32_t>{}, py::arg("max_nodes") = 0,
          py::arg("depth") = 0, py::arg("beam") = 0, py::arg("scheme") = 1,
          py::arg("verifier") = py::none(), py::arg("stop_tokens") = StopRule{}.tokens,
          py::arg("draft_budget") = StopRule{}.rows, py::arg("draft_terms") = StopRule{}.terms,
          py::arg("random_source") = nullptr, py::arg("auto_length") = false,
          py::arg("draft_cost") = 0.15)
      .def(
          "add",
          [](Session& session, TokenIds prompt, SamplingParams sampling,
             std::optional<SamplingParams> draft_sampling, int32_t max_new_tokens, TokenIds stop,
             uint32_t random_stream) {
            return session.add({std::move(prompt), sampling, draft_sampling, max_new_tokens,
                                std::move(stop), random_stream});
          },
          py::arg("prompt"), py::kw_only(), py::arg("sampling"),
          py::arg("draft_sampling") = py::none(), py::arg("max_new_tokens") = 256,
          py::arg("stop") = TokenIds{}, py::arg("random_stream") = 0)
      .def("cancel", &Session::cancel)
      .def("forget", &Session::forget)
      .def("check", &Session::check)
      .def("resume", &Session::resume)
      .def("next",
           [](Session& session) {
             Work work = session.next();
             static const char* const kNames[] = {"idle", "drafter", "target"};
             return py::make_tuple(kNames[static_cast<int>(work.model)], std::move(work.feeds));
           })
      .def("failed", &Session::failed)
      .def("feed",
           [](Session& session, py::object logits) {
             session.feed(cpu_rows_from(logits, "Session.feed").view);
           })
      .def(
          "emitted",
          [](const Session& session, int64_t id, size_t from) {
            static const char* const kOrigins[] = {"accepted", "recovered", "bonus"};
            const auto& all = session.emitted(id);
            py::list tokens;
            for (size_t i = from; i < all.size(); ++i) {
              tokens.append(
                  py::make_tuple(all[i].token, kOrigins[static_cast<int>(all[i].origin)]));
            }
            return tokens;
          },
          py::arg("id"), py::arg("from_index") = 0)
      .def("finish",
           [](const Session& session, int64_t id) -> std::optional<std::string> {
             static const char* const kReasons[] = {"",        "stop",      "length",
                                                    "context", "cancelled", "error"};
             const Finish finish = session.finish(id);
             if (finish == Finish::kNot) return std::nullopt;
             return kReasons[static_cast<int>(finish)];
           })
      .def("stats", &Session::stats);
}

}  // namespace anydraft::bindings
