#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "anydraft/error.h"
#include "anydraft/threads.h"
#include "decoder/matrix_layout.h"
#include "decoder/products.h"
#include "rows/kernels.h"

namespace anydraft::detail {
namespace {

using Vector = std::vector<float>;

size_t at(int64_t index) { return static_cast<size_t>(index); }

// Rows of a GGUF type: bytes of a generator, with small scales where the type has them.
std::vector<uint8_t> raw_rows(GgmlType type, int64_t outputs, int64_t inputs) {
  const ElementType& size = *element_type(type);
  const int64_t blocks = outputs * inputs / size.block;
  std::vector<uint8_t> raw(at(blocks * size.bytes));
  uint32_t state = 1;
  for (uint8_t& byte : raw) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<uint8_t>(state >> 24);
  }
  const bool k_type = size.block == 256;
  const bool two =
      type == GgmlType::kQ4_1 || type == GgmlType::kQ5_1 || (k_type && type != GgmlType::kQ6K);
  static constexpr uint16_t kScales[] = {0x1800, 0x1c00, 0x1e00, 0x2000, 0x2100, 0x2200, 0x2300};
  static constexpr uint16_t kTimes1_5[] = {0x1a00, 0x1e00, 0x2080, 0x2200, 0x2380, 0x2480, 0x2540};
  for (int64_t b = 0; b < blocks && size.block > 1; ++b) {
    uint8_t* block = &raw[at(b * size.bytes)];
    std::memcpy(block + (type == GgmlType::kQ6K ? 208 : 0), &kScales[b % 7], 2);
    const uint16_t second = kTimes1_5[b % 7] | (k_type ? 0 : 0x8000);
    if (two) std::memcpy(block + 2, &second, 2);
  }
  return raw;
}

Vector random_floats(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  Vector out(at(count));
  // Thirds have full significands.
  for (float& x : out) x = (static_cast<float>(random() % 20001) - 10000) / 3000;
  return out;
}

struct Case {
  std::string name;
  WeightMatrix matrix;
};

// Every format, with shapes that fill neither blocks of outputs nor groups where they needn't.
std::vector<Case> all_cases() {
  std::vector<Case> cases;
  const int64_t outputs = 37, inputs = 331;
  const Vector weights = random_floats(outputs * inputs, 3);
  for (const WeightFormat format :
       {WeightFormat::kU4Group32, WeightFormat::kU4Group64, WeightFormat::kU4Group128,
        WeightFormat::kI8Group16, WeightFormat::kI8Group32, WeightFormat::kI8Row,
        WeightFormat::kBfloat16, WeightFormat::kFloat32}) {
    cases.push_back(
        {name_of(format), WeightMatrix::from_float(weights.data(), outputs, inputs, format)});
  }
  for (const GgmlType type : {GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ5_0, GgmlType::kQ5_1,
                              GgmlType::kQ8_0, GgmlType::kQ4K, GgmlType::kQ5K, GgmlType::kQ6K}) {
    const int64_t wide = element_type(type)->block == 256 ? 768 : 416;
    const std::vector<uint8_t> raw = raw_rows(type, 29, wide);
    cases.push_back({"ggml " + std::to_string(static_cast<int>(type)),
                     WeightMatrix::from_ggml(type, raw.data(), 29, wide)});
  }
  std::vector<uint16_t> halves(at(outputs * inputs));
  for (size_t i = 0; i < halves.size(); ++i) {  // |w| from subnormals to 2
    halves[i] = static_cast<uint16_t>(i * 2654435761u % 0x4000 | (i % 2 ? 0x8000 : 0));
  }
  cases.push_back(
      {"ggml F16", WeightMatrix::from_ggml(GgmlType::kF16, halves.data(), outputs, inputs)});
  return cases;
}

Vector multiply(const WeightMatrix& matrix, const float* x, int64_t rows,
                const float* bias = nullptr) {
  Tiles tiles;
  Vector y(at(rows * matrix.outputs()));
  product(tiles, matrix, x, rows, y.data(), bias);
  return y;
}

bool is_float(const WeightMatrix& matrix) { return matrix.format() >= WeightFormat::kBfloat16; }

// What the product reads instead of x: each group rounded to 8 bits.
std::vector<double> as_read(const WeightMatrix& matrix, const float* x) {
  std::vector<double> out(x, x + matrix.inputs());
  const int64_t group = layout_of(matrix.format()).row_group;
  for (int64_t first = 0; first < matrix.inputs() && !is_float(matrix); first += group) {
    const int64_t end = std::min(first + group, matrix.inputs());
    float largest = 0;
    for (int64_t k = first; k < end; ++k) largest = std::max(largest, std::fabs(x[k]));
    for (int64_t k = first; k < end; ++k) {
      out[at(k)] = static_cast<double>(std::nearbyint(x[k] * (127 / largest))) * (largest / 127);
    }
  }
  return out;
}

class DecoderProducts : public ::testing::Test {
 protected:
  void TearDown() override {
    use_kernels(nullptr);
    set_threads(0);
  }
};

}  // namespace

// Sums of weights w[o][k] * (index * 37 % 101 + 1), and two weights, as the Python package gguf
// (0.x, gguf.quants.dequantize) reads the same bytes; all sums are exact in float64.
TEST_F(DecoderProducts, GgufWeightsAreThoseOfThePackageGguf) {
  struct Known {
    GgmlType type;
    double sum, last, inner;
  };
  for (const Known& known : {
           Known{GgmlType::kQ4_0, -2122.279296875, 0.08203125, -0.01171875},
           Known{GgmlType::kQ4_1, 20512.8173828125, 0.158203125, -0.001953125},
           Known{GgmlType::kQ5_0, -1576.6171875, 0.1640625, 0.0},
           Known{GgmlType::kQ5_1, 48874.6396484375, 0.123046875, 0.052734375},
           Known{GgmlType::kQ8_0, -3377.94921875, -0.75, 0.17578125},
           Known{GgmlType::kQ4K, 648212.1259765625, 6.767578125, 5.7626953125},
           Known{GgmlType::kQ5K, 1584131.8017578125, 4.904296875, 3.240234375},
           Known{GgmlType::kQ6K, -863.76171875, 7.69921875, 31.58203125},
       }) {
    const WeightMatrix matrix =
        WeightMatrix::from_ggml(known.type, raw_rows(known.type, 17, 512).data(), 17, 512);
    Vector row(512), third(512);
    double sum = 0;
    for (int64_t o = 0; o < 17; ++o) {
      matrix.dequantize_row(o, row.data());
      if (o == 3) third = row;
      for (int64_t k = 0; k < 512; ++k) {
        sum += static_cast<double>(row[at(k)]) * static_cast<double>((o * 512 + k) * 37 % 101 + 1);
      }
    }
    EXPECT_EQ(sum, known.sum) << name_of(matrix.format());
    EXPECT_EQ(row[511], static_cast<float>(known.last)) << name_of(matrix.format());
    EXPECT_EQ(third[77], static_cast<float>(known.inner)) << name_of(matrix.format());
    // In no more than the file's size, but for what a block of Q6_K is padded to.
    const ElementType& size = *element_type(known.type);
    EXPECT_LE(static_cast<double>(matrix.bytes()), 1.02 * 32 * 512 / size.block * size.bytes);
  }
}

TEST_F(DecoderProducts, EqualFloat64SumsOfTheSameIntegers) {
  for (const Case& c : all_cases()) {
    const int64_t inputs = c.matrix.inputs(), outputs = c.matrix.outputs(), rows = 3;
    const Vector x = random_floats(rows * inputs, 5), bias = random_floats(outputs, 6);
    const Vector y = multiply(c.matrix, x.data(), rows, bias.data());
    Vector weights(at(inputs));
    double worst = 0, largest = 0;
    for (int64_t o = 0; o < outputs; ++o) {
      c.matrix.dequantize_row(o, weights.data());
      for (int64_t i = 0; i < rows; ++i) {
        const std::vector<double> read = as_read(c.matrix, &x[at(i * inputs)]);
        double sum = bias[at(o)];
        for (int64_t k = 0; k < inputs; ++k) sum += weights[at(k)] * read[at(k)];
        worst = std::max(worst, std::fabs(sum - y[at(i * outputs + o)]));
        largest = std::max(largest, std::fabs(sum));
      }
    }
    EXPECT_LE(worst, 1e-5 * largest) << c.name;
    EXPECT_GT(largest, 0.1) << c.name;
  }
}

TEST_F(DecoderProducts, BitsDependOnNeitherNeighboursNorThreadsNorInstructions) {
  constexpr int64_t kRows = 19;
  for (const Case& c : all_cases()) {
    const int64_t inputs = c.matrix.inputs(), outputs = c.matrix.outputs();
    const Vector x = random_floats(kRows * inputs, 7);
    use_kernels(runnable_kernels().front());
    Vector alone;
    for (int64_t i = 0; i < kRows; ++i) {
      const Vector y = multiply(c.matrix, &x[at(i * inputs)], 1);
      alone.insert(alone.end(), y.begin(), y.end());
    }
    for (const RowKernels* set : runnable_kernels()) {
      use_kernels(set);
      for (const int threads : {1, 2, 3}) {
        set_threads(threads);
        for (int64_t rows = 1; rows <= kRows; ++rows) {
          const int64_t first = kRows - rows;
          const Vector y = multiply(c.matrix, &x[at(first * inputs)], rows);
          ASSERT_EQ(0, std::memcmp(y.data(), &alone[at(first * outputs)], y.size() * sizeof(float)))
              << c.name << ", " << set->name << ", " << rows << " rows";
        }
      }
    }
  }
}

// Many rows and blocks: several passes over the rows, several parts of the weights.
TEST_F(DecoderProducts, LargeProductsHaveTheBitsOfSmallOnes) {
  const int64_t outputs = 200, inputs = 4000, rows = 1100;
  const Vector weights = random_floats(outputs * inputs, 11), x = random_floats(rows * inputs, 12);
  for (const WeightFormat format : {WeightFormat::kU4Group64, WeightFormat::kBfloat16}) {
    const WeightMatrix matrix = WeightMatrix::from_float(weights.data(), outputs, inputs, format);
    set_threads(3);
    const Vector y = multiply(matrix, x.data(), rows);
    for (const int64_t row : {int64_t{0}, int64_t{8}, int64_t{527}, rows - 1}) {
      for (const int threads : {1, 2, 3}) {
        set_threads(threads);
        const Vector one = multiply(matrix, &x[at(row * inputs)], 1);
        EXPECT_EQ(0, std::memcmp(one.data(), &y[at(row * outputs)], one.size() * sizeof(float)))
            << name_of(format) << ", row " << row << ", threads " << threads;
      }
    }
  }
}

TEST_F(DecoderProducts, ProductsOfOneInputRunTogether) {
  std::vector<Case> cases = all_cases();
  std::vector<Vector> y;
  std::vector<Product> products;
  const Vector x = random_floats(5 * 340, 8);
  for (const Case& c : cases) {
    if (c.matrix.inputs() != 331 || products.size() == 8) continue;
    y.push_back(Vector(at(5 * (c.matrix.outputs() + 3)), -1.0f));
    products.push_back({&c.matrix, y.back().data(), c.matrix.outputs() + 3});
  }
  Tiles tiles;
  product(tiles, x.data(), 5, 340, products.data(), static_cast<int64_t>(products.size()));
  for (size_t p = 0; p < products.size(); ++p) {
    const int64_t outputs = products[p].weights->outputs();
    for (int64_t i = 0; i < 5; ++i) {
      const Vector alone = multiply(*products[p].weights, &x[at(i * 340)], 1);
      const float* row = &y[p][at(i * (outputs + 3))];
      EXPECT_EQ(0, std::memcmp(alone.data(), row, alone.size() * sizeof(float)));
      for (int64_t o = outputs; o < outputs + 3; ++o) EXPECT_EQ(row[o], -1.0f);  // others' memory
    }
  }
}

TEST_F(DecoderProducts, ARowThatIsNotFiniteSpoilsItselfAlone) {
  for (const RowKernels* set : runnable_kernels()) {
    use_kernels(set);
    for (const Case& c : all_cases()) {
      const int64_t inputs = c.matrix.inputs(), outputs = c.matrix.outputs();
      Vector x = random_floats(3 * inputs, 9);
      const Vector clean = multiply(c.matrix, x.data(), 3);
      x[at(inputs + inputs - 1)] = NAN;
      const Vector y = multiply(c.matrix, x.data(), 3);
      for (int64_t o = 0; o < outputs; ++o) {
        EXPECT_TRUE(std::isnan(y[at(outputs + o)])) << c.name;
        EXPECT_EQ(y[at(o)], clean[at(o)]);
        EXPECT_EQ(y[at(2 * outputs + o)], clean[at(2 * outputs + o)]);
      }
    }
  }
}

TEST_F(DecoderProducts, RoundingStaysWithinHalfAStep) {
  const int64_t outputs = 18, inputs = 200;
  Vector w = random_floats(outputs * inputs, 10);
  for (int64_t k = 0; k < inputs; ++k) w[at(k)] = k < 100 ? 0 : 0.25f;  // flat groups
  for (const WeightFormat format : {WeightFormat::kU4Group32, WeightFormat::kI8Group16,
                                    WeightFormat::kI8Row, WeightFormat::kFloat32}) {
    const WeightMatrix matrix = WeightMatrix::from_float(w.data(), outputs, inputs, format);
    Vector row(at(inputs));
    const bool u4 = format == WeightFormat::kU4Group32;
    for (int64_t o = 0; o < outputs; ++o) {
      matrix.dequantize_row(o, row.data());
      const double step = o == 0 ? 1e-4 : (u4 ? 6.67 / 15 : 3.34 / 127);
      double squares = 0;
      for (int64_t k = 0; k < inputs; ++k) {
        const double off = std::fabs(static_cast<double>(row[at(k)]) - w[at(o * inputs + k)]);
        EXPECT_LE(off, format == WeightFormat::kFloat32 ? 0 : step * (u4 ? 2 : 0.51));
        squares += off * off;
      }
      EXPECT_LE(std::sqrt(squares / static_cast<double>(inputs)), step / std::sqrt(12) * 1.05);
    }
  }
}

TEST_F(DecoderProducts, RefusesWhatItCannotHold) {
  const Vector w(64, 1.0f), bad(64, INFINITY), large(64, 3e38f);
  const auto round = [](const Vector& from, WeightFormat format) {
    WeightMatrix::from_float(from.data(), 2, 32, format);
  };
  EXPECT_THROW(round(w, WeightFormat::kQ4K), Error);
  EXPECT_THROW(round(bad, WeightFormat::kI8Row), Error);
  EXPECT_THROW(round(bad, WeightFormat::kU4Group32), Error);
  EXPECT_THROW(round(large, WeightFormat::kU4Group32), Error);
  EXPECT_NO_THROW(round(large, WeightFormat::kI8Row));
  EXPECT_THROW(WeightMatrix::from_ggml(static_cast<GgmlType>(16), w.data(), 1, 256), Error);
  EXPECT_THROW(WeightMatrix::from_ggml(GgmlType::kQ4K, w.data(), 1, 128), Error);
  EXPECT_THROW(WeightMatrix::from_ggml(GgmlType::kF32, w.data(), 0, 32), Error);
  EXPECT_THROW(WeightMatrix::from_ggml(GgmlType::kF32, w.data(), INT64_MAX / 2, 32), Error);
  const WeightMatrix a = WeightMatrix::from_float(w.data(), 2, 32, WeightFormat::kI8Row);
  const WeightMatrix b = WeightMatrix::from_float(w.data(), 4, 16, WeightFormat::kI8Row);
  Vector y(8);
  const Product both[] = {{&a, y.data(), 2}, {&b, y.data() + 4, 4}};
  Tiles tiles;
  EXPECT_THROW(product(tiles, w.data(), 1, 32, both, 2), Error);
  EXPECT_THROW(product(tiles, w.data(), -1, 32, both, 1), Error);
  const std::vector<Product> nine(9, both[0]);
  EXPECT_THROW(product(tiles, w.data(), 1, 32, nine.data(), 9), Error);
}

}  // namespace anydraft::detail
