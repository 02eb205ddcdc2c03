#include "anydraft/drafter.h"

#include <pybind11/stl.h>

#include <optional>
#include <tuple>

#include "anydraft/detail/play.h"
#include "anydraft/error.h"
#include "anydraft/verify.h"
#include "bind.h"
#include "dlpack.h"
#include "draft/drafts_to_verify.h"
#include "draft/source.h"
#include "verdicts.h"

namespace anydraft::bindings {
namespace {

using SharedVocabulary = std::shared_ptr<Vocabulary>;

[[noreturn]] void fail_to_verify(const std::string& what) {
  throw Error(ErrorKind::kValue, "[Drafter.verify] expected " + what);
}

using NamedProposal = std::tuple<const char*, std::optional<int32_t>>;  // kind, row

// The fields of Draft in drafter.py; the rows dense over `width` target ids, none for width 0.
std::tuple<TokenIds, std::vector<int32_t>, std::vector<NamedProposal>, std::vector<int32_t>,
           py::bytes, SamplingParams>
draft_of(const Drafter& drafter, int64_t id, int64_t width) {
  const Draft& draft = drafter.draft(id);
  const DraftTree& tree = draft.tree;
  std::vector<NamedProposal> proposals;
  for (int32_t node = 0; node < tree.size(); ++node) {
    const int32_t row = tree.rows[node];
    proposals.emplace_back(name_of(tree.kinds[node]), row < 0 ? std::nullopt : std::optional(row));
  }
  std::vector<float> logits(draft.rows.size() * width);
  for (size_t row = 0; width > 0 && row < draft.rows.size(); ++row) {
    draft.write_logits(static_cast<int64_t>(row), width, logits.data() + row * width);
  }
  const py::bytes data(reinterpret_cast<const char*>(logits.data()), logits.size() * sizeof(float));
  return {tree.tokens, tree.parents, proposals, tree.paths, data, draft.sampling};
}

std::string named(Verifier verifier) {
  return std::string("verifier ") + verifiers()[static_cast<size_t>(verifier)].name;
}

// The first nodes alone must be a draft as it might have been drawn.
void check_length(const DraftTree& tree, int32_t length, Verifier verifier) {
  const std::string got = ", got " + std::to_string(length);
  if (length < 0 || length >= tree.size()) {
    fail_to_verify("lengths in [0, " + std::to_string(tree.size() - 1) + "]" + got);
  }
  if (length == 0 || length + 1 == tree.size()) return;
  const int32_t parent = tree.parents[length];
  if (parent != tree.parents[length + 1]) return;
  const ProposalKind kind = tree.kinds[parent];
  if (detail::excludes_later(kind)) {  // earlier siblings were drawn without the later ones
    fail_to_verify(std::string("lengths that keep siblings together with scheme ") + name_of(kind) +
                   got);
  }
  if (traits_of(verifier).has(kSelects)) {  // it counts them
    fail_to_verify("lengths that keep siblings together with " + named(verifier) + got);
  }
}

// Equal siblings that became one are no longer drawn independently.
void check_merged(const Drafter& drafter, const Draft& draft, Verifier verifier) {
  const Verifier merges = drafter.pair().verifier();
  if (!drafter.pair().merges() || draft.rows.empty()) return;
  if (traits_of(verifier).shape == DraftShape::kPaths) return;
  fail_to_verify(named(merges) + ", for which these drafts were merged, got " + named(verifier));
}

Verdicts verify_drafts(const Drafter& drafter, const std::vector<int64_t>& ids,
                       const std::vector<int32_t>& lengths, py::object target_logits,
                       const std::vector<SamplingParams>& sampling, const std::string& verifier,
                       const std::vector<uint32_t>& requests,
                       const std::vector<uint32_t>& positions) {
  const size_t count = ids.size();
  if (lengths.size() != count || sampling.size() != count || requests.size() != count ||
      positions.size() != count) {
    fail_to_verify("as many lengths, sampling, requests and positions as ids, got " +
                   std::to_string(lengths.size()) + ", " + std::to_string(sampling.size()) + ", " +
                   std::to_string(requests.size()) + " and " + std::to_string(positions.size()));
  }
  const Verifier judge = verifier_by_name(verifier);
  const Rows target = cpu_rows_from(target_logits, "target_logits");
  DraftsToVerify drafts;
  std::vector<uint64_t> seeds;
  for (size_t i = 0; i < count; ++i) {
    const Draft& draft = drafter.draft(ids[i]);
    check_length(draft.tree, lengths[i], judge);
    check_merged(drafter, draft, judge);
    drafts.add(draft, lengths[i]);
    seeds.push_back(sampling[i].seed.value_or(0));
  }
  if (target.view.rows != drafts.offsets.back()) {
    fail_to_verify("target_logits [" + std::to_string(drafts.offsets.back()) + ", vocab], got [" +
                   std::to_string(target.view.rows) + ", " + std::to_string(target.view.cols) +
                   "]");
  }
  VerifyRequest request = drafts.request(target.view);
  request.sampling = sampling.data();
  request.params_per_request = true;
  request.verifier = judge;
  request.uniforms.seeds = seeds.data();
  request.uniforms.requests = requests.data();
  request.uniforms.positions = positions.data();
  request.report_status = true;
  return verdicts_of(request);
}

}  // namespace

void bind_drafter(py::module_& module) {
  py::class_<Drafter>(module, "Drafter",
                      "Drafts for many requests, without I/O and without a target.")
      .def(py::init([](SharedVocabulary target, std::optional<SharedVocabulary> drafter,
                       const DrafterOptions& options) {
             return std::make_unique<Drafter>(std::move(target), drafter.value_or(nullptr),
                                              options);
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
      .def("__len__", &Drafter::size)
      .def("forget", &Drafter::forget, py::arg("id"))
      .def("propose", &Drafter::propose, py::arg("id"), py::arg("context"), py::arg("remaining"),
           py::arg("together") = 1, py::call_guard<py::gil_scoped_release>())
      .def("next", py::overload_cast<const std::vector<int64_t>&>(&Drafter::next, py::const_),
           py::arg("ids"), py::call_guard<py::gil_scoped_release>())
      .def(
          "feed",
          [](Drafter& drafter, const std::vector<Feed>& feeds, py::object logits) {
            const Rows rows = cpu_rows_from(logits, "Drafter.feed");
            const std::shared_ptr<const void> owner = kept_alive(rows.owner);
            py::gil_scoped_release release;
            drafter.feed(feeds, rows.view, owner);
          },
          py::arg("feeds"), py::arg("logits"))
      .def("failed", &Drafter::failed, py::arg("feeds"))
      .def(
          "check",
          [](const Drafter& drafter, int64_t id) {
            if (const std::exception_ptr error = drafter.error(id)) std::rethrow_exception(error);
          },
          py::arg("id"))
      .def("draft", draft_of, py::arg("id"), py::arg("width"))
      .def("verify", verify_drafts, py::arg("ids"), py::arg("lengths"), py::arg("target_logits"),
           py::arg("sampling"), py::arg("verifier"), py::arg("requests"), py::arg("positions"));
}

}  // namespace anydraft::bindings
