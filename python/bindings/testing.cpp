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

using detail::Distribution;

// One reading and the exponentials of a row, relative to its first entry: what no distribution of
// it can do without. Right only where no entry lies far above the first.
Distribution bare_distribution(const RowsView& rows, int64_t index, double temperature) {
  Distribution distribution;
  distribution.row = rows.row(index);
  distribution.dtype = rows.dtype;
  distribution.size = rows.cols;
  distribution.scale = static_cast<float>(1.4426950408889634 / temperature);
  const float first = detail::load(distribution.row, distribution.dtype, 0);
  distribution.exponent = detail::power_of(first, distribution.scale).exponent;
  distribution.lower = detail::lowest_logit(first, distribution.scale);
  double total = 0;
  for (int64_t begin = 0; begin < distribution.size; begin += detail::kChunk) {
    const int64_t end = std::min<int64_t>(begin + detail::kChunk, distribution.size);
    total += detail::kernels()
                 .scan(distribution.row, distribution.dtype, begin, end, distribution.scale,
                       distribution.lower, distribution.exponent, nullptr)
                 .total;
  }
  distribution.inverse_total = 1 / total;
  return distribution;
}

// The sum of relu(target - z * draft), both rows' exponentials once more, chunk by chunk; `terms`,
// where not null, receives them.
double bare_residual(const Distribution& target, const Distribution& draft, double z,
                     double* terms) {
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
        for (int64_t row : which)
          total += bare_distribution(rows.view, row, temperature).inverse_total;
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
        totals[thread] +=
            bare_distribution(rows.view, i % rows.view.rows, temperature).inverse_total;
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
    Distribution target_distribution, draft_distribution;
    for (int64_t row = 0; row <= accepted; ++row) {
      target_distribution = bare_distribution(target.view, row, temperature);
      if (row < draft.view.rows)
        draft_distribution = bare_distribution(draft.view, row, temperature);
    }
    if (accepted == draft.view.rows) return target_distribution.inverse_total;
    return bare_residual(target_distribution, draft_distribution, 1, nullptr);
  });
}

void bind_testing(py::module_& parent) {
  py::module_ module = parent.def_submodule("testing");
  module.def("distribution_masses", [](py::object logits, const SamplingParams& params) {
    const Rows rows = cpu_rows_from(logits, "logits");
    std::vector<std::vector<double>> all(rows.view.rows);
    for (int64_t i = 0; i < rows.view.rows; ++i) {
      const detail::Distribution distribution = make_distribution(rows.view, i, params);
      for (int64_t token = 0; token < distribution.size; ++token)
        all[i].push_back(mass(distribution, token));
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
  module.def("time_psi", [](const DraftTokenTrie& token_trie, py::object logits,
                            const SamplingParams& params, int64_t width, int repeats) {
    const Rows rows = cpu_rows_from(logits, "logits");
    const detail::Distribution distribution = make_distribution(rows.view, 0, params);
    TokenIds first(distribution.size, static_cast<int32_t>(width));
    for (int32_t i = 0; i < token_trie.size(); ++i) {
      if (token_trie.drafter_id(i) < distribution.size)
        first[token_trie.drafter_id(i)] = token_trie.first(i);
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
      for (int64_t begin = 0; begin < distribution.size; begin += detail::kChunk) {
        const int64_t end = std::min<int64_t>(begin + detail::kChunk, distribution.size);
        detail::kernels().masses(distribution, begin, end, masses);
        for (int64_t i = begin; i < end; ++i) sums[first[i]] += masses[i - begin];
      }
      check += sums[0];
    });
    const double psi =
        time([&] { check += token_trie.psi(distribution, token_trie.root(), width)[0]; });
    return py::make_tuple(psi, plain, check);
  });
  bind_bare(module);
  // Of the rows as distributions of temperature 1: the sum of relu(target - z * draft) and its
  // terms.
  module.def("residual_of", [](py::object target_logits, py::object draft_logits, double z) {
    const Rows target = cpu_rows_from(target_logits, "target_logits");
    const Rows draft = cpu_rows_from(draft_logits, "draft_logits");
    std::vector<double> terms(target.view.cols);
    const double sum = bare_residual(make_distribution(target.view, 0, {}),
                                     make_distribution(draft.view, 0, {}), z, terms.data());
    return py::make_tuple(sum, terms);
  });
  module.def("instruction_sets", [] {
    std::vector<std::string> names;
    for (const detail::RowKernels* set : detail::runnable_kernels()) names.push_back(set->name);
    return names;
  });
  // All calls of the engine and all decoders use it from now on; "": the best again.
  module.def("use_instruction_set", [](const std::string& name) {
    for (const detail::RowKernels* set : detail::runnable_kernels()) {
      if (name == set->name) return detail::use_kernels(set);
    }
    detail::use_kernels(nullptr);
  });
  // Of row 0: (scale, lower, exponent, inverse_total, chunk totals, each of them summed anew).
  module.def("distribution_of", [](py::object logits, const SamplingParams& params) {
    const Rows rows = cpu_rows_from(logits, "logits");
    std::vector<double> totals, anew;
    const detail::Distribution distribution = make_distribution(rows.view, 0, params, &totals);
    for (int64_t begin = 0; begin < distribution.size && distribution.one_hot < 0;
         begin += detail::kChunk) {
      const int64_t end = std::min<int64_t>(begin + detail::kChunk, distribution.size);
      anew.push_back(detail::kernels().sum(distribution.row, distribution.dtype, begin, end,
                                           distribution.scale, distribution.lower,
                                           distribution.exponent));
    }
    return py::make_tuple(distribution.scale, distribution.lower, distribution.exponent,
                          distribution.inverse_total, totals, anew);
  });
}

}  // namespace anydraft::bindings
