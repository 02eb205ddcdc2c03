// Products of few rows against the memory's read bandwidth and the processor's own products of 64
// bytes: checks each format against float64 sums, then prints medians as JSON. A layer's shape,
// copies in turn so that caches hold none.
//   cmake --build BUILD --target bench_products && BUILD/bench_products [outputs inputs [format|all
//   [instructions]]]
#include "decoder/products.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

#include "anydraft/threads.h"
#include "base/parallel.h"
#include "rows/kernels.h"

using namespace anydraft::detail;

namespace {

double now_ms() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

template <class F>
double median_ms(int times, F f) {
  std::vector<double> all;
  for (int i = 0; i < times; ++i) {
    const double start = now_ms();
    f();
    all.push_back(now_ms() - start);
  }
  std::sort(all.begin(), all.end());
  return all[all.size() / 2];
}

// Random blocks of a GGUF type with sane scales, or weights rounded to a format of our own.
WeightMatrix random_matrix(WeightFormat format, int64_t outputs, int64_t inputs,
                           std::mt19937& random) {
  const bool q4k = format == WeightFormat::kQ4K, q6k = format == WeightFormat::kQ6K;
  if (!q4k && !q6k) {
    std::vector<float> weights(static_cast<size_t>(outputs * inputs));
    for (float& w : weights) w = static_cast<float>(random() % 2001) * 1e-3f - 1;
    return WeightMatrix::from_float(weights.data(), outputs, inputs, format);
  }
  const GgmlType type = q4k ? GgmlType::kQ4K : GgmlType::kQ6K;
  const ElementType& size = *element_type(type);
  std::vector<uint8_t> raw(static_cast<size_t>(outputs * inputs / size.block * size.bytes));
  for (uint8_t& byte : raw) byte = static_cast<uint8_t>(random());
  const uint16_t scale = 0x1400;  // 2^-10
  for (size_t at = 0; at < raw.size(); at += static_cast<size_t>(size.bytes)) {
    std::memcpy(&raw[at + (q6k ? 208 : 0)], &scale, 2);
    if (q4k) std::memcpy(&raw[at + 2], &scale, 2);
  }
  return WeightMatrix::from_ggml(type, raw.data(), outputs, inputs);
}

// Largest error of a few outputs, of the largest result: rounding x to 8 bits is in it.
double error_of(const WeightMatrix& matrix, const std::vector<float>& x,
                const std::vector<float>& y, int64_t rows) {
  double worst = 0, largest = 1e-9;
  std::vector<float> w(static_cast<size_t>(matrix.inputs()));
  for (int64_t o = 0; o < matrix.outputs(); o += matrix.outputs() / 7 + 1) {
    matrix.dequantize_row(o, w.data());
    for (int64_t i = 0; i < rows; ++i) {
      double sum = 0;
      for (int64_t k = 0; k < matrix.inputs(); ++k) {
        sum += static_cast<double>(w[static_cast<size_t>(k)]) *
               x[static_cast<size_t>(i * matrix.inputs() + k)];
      }
      worst = std::max(worst, std::fabs(sum - y[static_cast<size_t>(i * matrix.outputs() + o)]));
      largest = std::max(largest, std::fabs(sum));
    }
  }
  return worst / largest;
}

// GB/s of reading 512 MB, once or (`copy`) into 512 MB more, on all threads; on huge pages, as
// weights are.
double bandwidth(bool copy) {
  constexpr size_t kBytes = 512 << 20, kParts = 256, kPart = kBytes / kParts;
  std::vector<char*> memory;
  for (int i = 0; i < (copy ? 2 : 1); ++i) {
    memory.push_back(static_cast<char*>(std::aligned_alloc(2 << 20, kBytes)));
    static_cast<void>(madvise(memory.back(), kBytes, MADV_HUGEPAGE));
    std::memset(memory.back(), 1, kBytes);
  }
  std::vector<uint64_t> sums(kParts);
  const double ms = median_ms(9, [&] {
    parallel_for(kParts, [&](int64_t part) {
      const size_t first = static_cast<size_t>(part) * kPart;
      if (copy) {
        std::memcpy(memory[1] + first, memory[0] + first, kPart);
        return;
      }
      uint64_t lanes[4] = {};  // a word of each line brings all of it
      for (size_t at = first; at < first + kPart; at += 256) {
        for (size_t j = 0; j < 4; ++j) {
          __builtin_prefetch(memory[0] + at + j * 64 + 4096);
          uint64_t word;
          std::memcpy(&word, memory[0] + at + j * 64, 8);
          lanes[j] += word;
        }
      }
      sums[static_cast<size_t>(part)] += lanes[0] + lanes[1] + lanes[2] + lanes[3];
    });
  });
  for (char* block : memory) std::free(block);
  if (!copy && sums[0] == 0) std::exit(1);  // the sums are used
  return static_cast<double>(kBytes) * (copy ? 2 : 1) / ms * 1e-6;
}

// What sharing out costs: two tasks of 3 microseconds each, less what they take.
double fork_join_us() {
  const auto work = [](int64_t) {
    for (const double until = now_ms() + 3e-3; now_ms() < until;) {
    }
  };
  return median_ms(9,
                   [&] {
                     for (int i = 0; i < 1000; ++i) parallel_for(2, work);
                   }) -
         3;
}

#if defined(__x86_64__) && defined(__GNUC__)

__attribute__((target("avx512f,avx512vnni"))) int64_t dots(int64_t rounds) {
  __m512i sums[12], bytes = _mm512_set1_epi8(1);
  for (int i = 0; i < 12; ++i) sums[i] = _mm512_set1_epi32(i);  // or compilers make but one
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (__m512i& sum : sums) sum = _mm512_dpbusd_epi32(sum, bytes, bytes);
  }
  int64_t all = 0;
  for (const __m512i& sum : sums) all += _mm512_reduce_add_epi32(sum);
  return all;
}

// Products of 64 codes and 64 bytes (VPDPBUSD) in a nanosecond, on all threads, from registers;
// 0: the processor has none.
double dots_per_ns() {
  if (!__builtin_cpu_supports("avx512vnni")) return 0;
  constexpr int64_t kParts = 64, kRounds = 20000;
  std::vector<int64_t> sums(kParts);
  const double ms = median_ms(9, [&] {
    parallel_for(kParts, [&](int64_t part) { sums[static_cast<size_t>(part)] += dots(kRounds); });
  });
  if (sums[0] == 0) std::exit(1);  // the sums are used
  return 12.0 * kParts * kRounds / ms * 1e-6;
}

#else

double dots_per_ns() { return 0; }

#endif

}  // namespace

int main(int argc, char** argv) {
  const int64_t outputs = argc > 2 ? std::atoll(argv[1]) : 8960;
  const int64_t inputs = argc > 2 ? std::atoll(argv[2]) : 1536;
  const std::string only = argc > 3 ? argv[3] : "all";
  const RowKernels* set = runnable_kernels().back();
  for (const RowKernels* known : runnable_kernels()) {
    if (argc > 4 && std::string(argv[4]) == known->name) set = known;
  }
  use_kernels(set);
  std::mt19937 random(1);
  Tiles tiles;
  std::vector<float> x(static_cast<size_t>(512 * inputs)), y(static_cast<size_t>(512 * outputs));
  for (float& value : x) value = static_cast<float>(random() % 2001) * 1e-3f - 1;

  const double read = bandwidth(false), peak = dots_per_ns();
  std::printf(
      "{\"instructions\": \"%s\", \"outputs\": %lld, \"inputs\": %lld, \"threads\": %d, "
      "\"read_GB_per_s\": %.1f, "
      "\"copy_GB_per_s\": %.1f, \"dots_per_ns\": %.2f, \"fork_join_us\": %.2f, \"formats\": {",
      set->name, static_cast<long long>(outputs), static_cast<long long>(inputs),
      anydraft::threads(), read, bandwidth(true), peak, fork_join_us());
  const WeightFormat formats[] = {WeightFormat::kU4Group32,  WeightFormat::kU4Group64,
                                  WeightFormat::kU4Group128, WeightFormat::kQ4K,
                                  WeightFormat::kQ6K,        WeightFormat::kI8Row,
                                  WeightFormat::kI8Group32,  WeightFormat::kBfloat16};
  bool first = true;
  for (const WeightFormat format : formats) {
    if (only != "all" && only != name_of(format)) continue;
    std::vector<WeightMatrix> copies;
    int64_t bytes = 0;
    while (bytes < 128 << 20) {
      copies.push_back(random_matrix(format, outputs, inputs, random));
      bytes += copies.back().bytes();
    }
    product(tiles, copies[0], x.data(), 19, y.data());
    const double error = error_of(copies[0], x, y, 19);
    if (!(error < 2e-2)) {
      std::fprintf(stderr, "%s: error %g\n", name_of(format), error);
      return 1;
    }
    std::printf("%s\n  \"%s\": {\"bytes\": %lld, \"error\": %.2g, \"ms\": {", first ? "" : ",",
                name_of(format), static_cast<long long>(copies[0].bytes()), error);
    first = false;
    double one = 0, eight = 0, many = 0;
    for (const int rows : {1, 2, 3, 4, 5, 6, 7, 8, 16, 64, 512}) {
      const size_t used = rows > 64 ? 2 : copies.size();
      const double all = median_ms(rows > 16 ? 3 : 15, [&] {
        for (size_t c = 0; c < used; ++c) product(tiles, copies[c], x.data(), rows, y.data());
      });
      const double ms = all / static_cast<double>(used);
      if (rows == 1) one = ms;
      if (rows == 8) eight = ms;
      if (rows == 512) many = ms;
      std::printf("%s\"%d\": %.3f", rows == 1 ? "" : ", ", rows, ms);
      std::fflush(stdout);
    }
    std::printf("}, \"of_bandwidth\": %.2f, \"eight_over_one\": %.2f",
                static_cast<double>(copies[0].bytes()) / one * 1e-6 / read, eight / one);
    const double row = static_cast<double>(outputs * inputs) / 64 * 1e-6 / peak;  // ms, at least
    if (peak > 0 && format != WeightFormat::kBfloat16) {
      std::printf(", \"eight_of_dots\": %.2f, \"512_of_dots\": %.2f", 8 * row / eight,
                  512 * row / many);
    }
    std::printf("}");
  }
  std::printf("\n}}\n");
}
