#include <pybind11/stl.h>

#include <chrono>
#include <thread>

#include "anydraft/error.h"
#include "anydraft/vocabulary.h"
#include "bind.h"
#include "bridge/settled.h"
#include "bridge/slrs.h"
#include "dlpack.h"
#include "rows/kernels.h"
#include "rows/sweeps.h"

namespace anydraft::bindings {

namespace {

using detail::Law;

// One reading and the exponentials of a row, relative to its first entry: what no law of it can do
// without. Right only where no entry lies far above the first.
Law bare_law(const RowsView& rows, int64_t index, double temperature) {
  Law law;
  law.row = rows.row(index);
  law.dtype = rows.dtype;
  law.size = rows.cols;
  law.scale = static_cast<float>(1.4426950408889634 / temperature);
  const float first = detail::load(law.row, law.dtype, 0);
  law.exponent = detail::power_of(first, law.scale).exponent;
  law.lower = detail::lowest_logit(first, law.scale);
  double total = 0;
  for (int64_t begin = 0; begin < law.size; begin += detail::kChunk) {
    const int64_t end = std::min<int64_t>(begin + detail::kChunk, law.size);
    total += detail::kernels()
                 .scan(law.row, law.dtype, begin, end, law.scale, law.lower, law.exponent, nullptr)
                 .total;
  }
  law.inverse_total = 1 / total;
  return law;
}

// The sum of relu(target - z * draft), both rows' exponentials once more, chunk by chunk; `terms`,
// where not null, receives them.
double bare_residual(const Law& target, const Law& draft, double z, double* terms) {
  float left[detail::kChunk], right[detail::kChunk];
  double sum = 0;
  for (int64_t begin = 0; begin < target.size; begin += detail::kChunk) {
    const int64_t end = std::min<int64_t>(begin + detail::kChunk, target.size);
    detail::sweeps().keep(target, begin, end, left);
    detail::sweeps().keep(draft, begin, end, right);
    const detail::Pair pair{left, right, target.inverse_total, draft.inverse_total};
    if (terms) detail::sweeps().residual(pair, end - begin, 1, z, terms + begin);
    sum += detail::sweeps().residual_sum(pair, end - begin, 1, z);
  }
  return sum;
}

}  // namespace

// For benches: the exponentials of a draw and of a chain's verification, and nothing else.
static void bind_bare(py::module_& module) {
  module.def(
      "bare_exponentials",
      [](py::object logits, double temperature, const std::vector<int64_t>& which) {
        const Rows rows = cpu_rows_from(logits, "logits");
        double total = 0;
        for (int64_t row : which) total += bare_law(rows.view, row, temperature).inverse_total;
        return total;
      },
      py::arg("logits"), py::arg("temperature"), py::arg("rows") = std::vector<int64_t>{0});
  // Seconds for the bare exponentials of all rows, each `repeats` times, on threads that share
  // nothing and wait for nothing: what the machine's cores can do together.
  module.def("time_on_threads", [](py::object logits, double temperature, int count, int repeats) {
    const Rows rows = cpu_rows_from(logits, "logits");
    py::gil_scoped_release release;
    std::vector<double> totals(count);
    const auto work = [&](int thread) {
      for (int64_t i = thread; i < rows.view.rows * repeats; i += count) {
        totals[thread] += bare_law(rows.view, i % rows.view.rows, temperature).inverse_total;
      }
    };
    const auto started = std::chrono::steady_clock::now();
    std::vector<std::thread> others;
    for (int thread = 1; thread < count; ++thread) others.emplace_back(work, thread);
    work(0);
    for (std::thread& other : others) other.join();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  });
  // Target rows 0 ... accepted and the draft rows beside them; then, where a draft was rejected,
  // one sweep over the residual there.
  module.def("bare_verification", [](py::object target_logits, py::object draft_logits,
                                     int64_t accepted, double temperature) {
    const Rows target = cpu_rows_from(target_logits, "target_logits");
    const Rows draft = cpu_rows_from(draft_logits, "draft_logits");
    Law target_law, draft_law;
    for (int64_t row = 0; row <= accepted; ++row) {
      target_law = bare_law(target.view, row, temperature);
      if (row < draft.view.rows) draft_law = bare_law(draft.view, row, temperature);
    }
    if (accepted == draft.view.rows) return target_law.inverse_total;
    return bare_residual(target_law, draft_law, 1, nullptr);
  });
}

void bind_testing(py::module_& parent) {
  py::module_ module = parent.def_submodule("testing");
  module.def("law_masses", [](py::object logits, const SamplingParams& params) {
    const Rows rows = cpu_rows_from(logits, "logits");
    std::vector<std::vector<double>> all(rows.view.rows);
    for (int64_t i = 0; i < rows.view.rows; ++i) {
      const detail::Law law = make_law(rows.view, i, params);
      for (int64_t token = 0; token < law.size; ++token) all[i].push_back(mass(law, token));
    }
    return all;
  });
  module.def("first_token_settled", [](const Vocabulary& vocabulary, const py::bytes& text) {
    const std::string bytes = text;
    Retokenizer reader(vocabulary);
    reader.feed(bytes);
    return detail::first_token_settled(vocabulary, bytes, reader);
  });
  module.def("philox4x32_10", [](std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
    PhiloxBlock block{{counter[0], counter[1], counter[2], counter[3]}};
    block = philox4x32_10(block, key[0], key[1]);
    return std::vector<uint32_t>(block.word, block.word + 4);
  });
  // Seconds of psi at the root, and of a plain scatter-add of the same row: its masses, each added
  // to the first token its drafter token spells.
  module.def("time_psi", [](const Spellings& spellings, py::object logits,
                            const SamplingParams& params, int64_t width, int repeats) {
    const Rows rows = cpu_rows_from(logits, "logits");
    const detail::Law law = make_law(rows.view, 0, params);
    TokenIds first(law.size, static_cast<int32_t>(width));
    for (int32_t i = 0; i < spellings.size(); ++i) {
      if (spellings.drafter_id(i) < law.size) first[spellings.drafter_id(i)] = spellings.first(i);
    }
    const auto time = [repeats](const auto& work) {
      const auto started = std::chrono::steady_clock::now();
      for (int i = 0; i < repeats; ++i) work();
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count() /
             repeats;
    };
    double check = 0;
    const double plain = time([&] {
      std::vector<double> sums(width + 1, 0.0);
      double masses[detail::kChunk];
      for (int64_t begin = 0; begin < law.size; begin += detail::kChunk) {
        const int64_t end = std::min<int64_t>(begin + detail::kChunk, law.size);
        detail::kernels().masses(law, begin, end, masses);
        for (int64_t i = begin; i < end; ++i) sums[first[i]] += masses[i - begin];
      }
      check += sums[0];
    });
    const double psi = time([&] { check += spellings.psi(law, spellings.root(), width)[0]; });
    return py::make_tuple(psi, plain, check);
  });
  bind_bare(module);
  // Of the rows as laws of temperature 1: the sum of relu(target - z * draft) and its terms.
  module.def("residual_of", [](py::object target_logits, py::object draft_logits, double z) {
    const Rows target = cpu_rows_from(target_logits, "target_logits");
    const Rows draft = cpu_rows_from(draft_logits, "draft_logits");
    std::vector<double> terms(target.view.cols);
    const double sum =
        bare_residual(make_law(target.view, 0, {}), make_law(draft.view, 0, {}), z, terms.data());
    return py::make_tuple(sum, terms);
  });
  module.def("instruction_sets", [] {
    std::vector<std::string> names;
    for (const detail::RowKernels* set : detail::runnable_kernels()) names.push_back(set->name);
    return names;
  });
  // All calls of the engine use it from now on; "": the best again.
  module.def("use_instruction_set", [](const std::string& name) {
    for (const detail::RowKernels* set : detail::runnable_kernels()) {
      if (name == set->name) return detail::use_kernels(set);
    }
    detail::use_kernels(nullptr);
  });
  // Of row 0: (scale, lower, exponent, inverse_total, chunk totals, each of them summed anew).
  module.def("law_of", [](py::object logits, const SamplingParams& params) {
    const Rows rows = cpu_rows_from(logits, "logits");
    std::vector<double> totals, anew;
    const detail::Law law = make_law(rows.view, 0, params, &totals);
    for (int64_t begin = 0; begin < law.size && law.one_hot < 0; begin += detail::kChunk) {
      const int64_t end = std::min<int64_t>(begin + detail::kChunk, law.size);
      anew.push_back(detail::kernels().sum(law.row, law.dtype, begin, end, law.scale, law.lower,
                                           law.exponent));
    }
    return py::make_tuple(law.scale, law.lower, law.exponent, law.inverse_total, totals, anew);
  });
}

}  // namespace anydraft::bindings
