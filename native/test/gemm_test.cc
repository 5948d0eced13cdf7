// The matrix product's tiles at every edge, against float64.
#include "kernels/gemm/gemm.h"

#include <cmath>
#include <random>
#include <utility>

#include "isa_levels.h"
#include "repfuse/linear.h"
#include "repfuse/tensor_op.h"

namespace repfuse {
namespace {

class GemmTest : public IsaTest {};

std::vector<float> RandomFloats(size_t count, uint32_t seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(count);
  for (float& v : values) v = uniform(engine);
  return values;
}

TEST_P(GemmTest, EveryEdgeOfTheTile) {
  const GemmKernel& kernel = Kernels().gemm;
  constexpr int64_t kDepth = 37, kLda = 41;
  const int64_t ldc = kernel.columns + 5;
  const auto a = RandomFloats(static_cast<size_t>(kLda * kernel.rows), 1),
             b = RandomFloats(static_cast<size_t>(kDepth * kernel.columns), 2);
  const auto bias = RandomFloats(static_cast<size_t>(kernel.rows), 3);
  for (int rows = 1; rows <= kernel.rows; ++rows) {
    for (int columns = 1; columns <= kernel.columns; ++columns) {
      for (const int begin : {0, 1, 2}) {  // from zero, from the bias, from what C holds
        for (const bool relu : {false, true}) {
          std::vector<float> c(static_cast<size_t>(kernel.rows * ldc), 7.0f);
          kernel.run({.k = kDepth,
                      .a = a.data(),
                      .lda = kLda,
                      .b = b.data(),
                      .c = c.data(),
                      .ldc = ldc,
                      .rows = rows,
                      .columns = columns,
                      .accumulate = begin == 2,
                      .bias = begin == 1 ? bias.data() : nullptr,
                      .relu = relu});
          for (int r = 0; r < kernel.rows; ++r) {
            for (int64_t j = 0; j < ldc; ++j) {
              const float got = c[static_cast<size_t>(r * ldc + j)];
              if (r >= rows || j >= columns) {
                ASSERT_EQ(got, 7.0f) << "written outside " << rows << "x" << columns << " at " << r << "," << j;
                continue;
              }
              double want = begin == 2 ? 7.0 : begin == 1 ? bias[static_cast<size_t>(r)] : 0.0;
              for (int64_t k = 0; k < kDepth; ++k)
                want += static_cast<double>(a[static_cast<size_t>(r * kLda + k)]) * b[static_cast<size_t>(k * kernel.columns + j)];
              if (relu) want = std::max(want, 0.0);
              ASSERT_NEAR(got, want, 2e-5) << rows << "x" << columns << " at " << r << "," << j;
            }
          }
        }
      }
    }
  }
}

TEST_P(GemmTest, NanPassesThroughRelu) {
  const GemmKernel& kernel = Kernels().gemm;
  const float a = NAN;
  std::vector<float> b(static_cast<size_t>(kernel.columns), 1.0f), c(static_cast<size_t>(kernel.rows * kernel.columns));
  kernel.run({.k = 1,
              .a = &a,
              .lda = 1,
              .b = b.data(),
              .c = c.data(),
              .ldc = kernel.columns,
              .rows = 1,
              .columns = 1,
              .accumulate = false,
              .bias = nullptr,
              .relu = true});
  EXPECT_TRUE(std::isnan(c[0]));
}

TEST_P(GemmTest, DotOfEveryLength) {
  for (size_t n = 0; n < 200; ++n) {
    const auto a = RandomFloats(n, 5), b = RandomFloats(n, 6);
    double want = 0;
    for (size_t i = 0; i < n; ++i) want += static_cast<double>(a[i]) * b[i];
    ASSERT_NEAR(Kernels().dot(a.data(), b.data(), n), want, 1e-5) << n;
  }
}

// Around the number of rows where the packed product takes over, and around its panels and blocks.
TEST_P(GemmTest, LinearMatchesTheDefinition) {
  const GemmKernel& kernel = Kernels().gemm;
  for (int64_t rows : {0, 1, 3, 4, 5, 8, 17}) {
    for (const auto& [in, out] :
         std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {7, 33}, {kernel.k_block + 3, kernel.columns + 1}, {40, 3 * kernel.columns}}) {
      const auto x = RandomFloats(static_cast<size_t>(rows * in), 11), w = RandomFloats(static_cast<size_t>(out * in), 12),
                 b = RandomFloats(static_cast<size_t>(out), 13);
      std::vector<float> y(static_cast<size_t>(rows * out), NAN), other(y.size());
      ASSERT_TRUE(Linear({rows, in, out}, x.data(), w.data(), b.data(), true, y.data(), 1).ok());
      for (int64_t n = 0; n < rows; ++n) {
        for (int64_t o = 0; o < out; ++o) {
          double want = b[static_cast<size_t>(o)];
          for (int64_t i = 0; i < in; ++i)
            want += static_cast<double>(x[static_cast<size_t>(n * in + i)]) * w[static_cast<size_t>(o * in + i)];
          ASSERT_NEAR(y[static_cast<size_t>(n * out + o)], std::max(want, 0.0), 3e-5) << rows << " " << in << " " << out;
        }
      }
      ASSERT_TRUE(Linear({rows, in, out}, x.data(), w.data(), b.data(), true, other.data(), 3).ok());
      EXPECT_EQ(y, other) << "the thread count changed the result";
    }
  }
}

// As in precision_test.cc: what is added to a sum from 128 on would lose almost half of its last place each time.
TEST_P(GemmTest, LongSumsOfOneSignDoNotDrift) {
  constexpr int64_t kIn = 1000, kOut = 50;
  constexpr float kWeight = 1 + 63 * 0x1p-23f;
  const double want = static_cast<double>(kIn) * kWeight;
  for (int64_t rows : {3, 17}) {
    const std::vector<float> x(static_cast<size_t>(rows * kIn), 1.0f), w(static_cast<size_t>(kOut * kIn), kWeight);
    std::vector<float> y(static_cast<size_t>(rows * kOut), NAN);
    ASSERT_TRUE(Linear({rows, kIn, kOut}, x.data(), w.data(), nullptr, false, y.data(), 1).ok());
    for (const float got : y) ASSERT_NEAR(got / want, 1, 4e-7) << rows;
  }
  NetworkNode product;
  product.op = FindOperator("matMul");
  const std::vector<float> a(static_cast<size_t>(7 * kIn), 1.0f), b(static_cast<size_t>(kIn * kOut), kWeight);
  std::vector<float> y(static_cast<size_t>(7 * kOut), NAN);
  const TensorView factors[] = {{a.data(), Shape::Of({7, kIn})}, {b.data(), Shape::Of({kIn, kOut})}};
  ASSERT_TRUE(RunTensorOp(product, factors, y, 1).ok());
  for (const float got : y) ASSERT_NEAR(got / want, 1, 4e-7);
}

TEST(LinearTest, HostileShapesAreRefused) {
  EXPECT_TRUE(CheckLinearShape({0, 1, 1}).ok());
  EXPECT_FALSE(CheckLinearShape({-1, 1, 1}).ok());
  EXPECT_FALSE(CheckLinearShape({1, 0, 1}).ok());
  EXPECT_FALSE(CheckLinearShape({int64_t{1} << 31, int64_t{1} << 31, 1}).ok());
}

TEST_P(GemmTest, TheTableNamesItsOwnLevelOrTheOneThatItBuildsOn) {
  EXPECT_EQ(Kernels().isa, GetParam());
  const Isa own = std::min(GetParam(), Isa::kAvx512);  // the levels above add products of bf16
  EXPECT_NE(std::string(Kernels().gemm.name).find(std::string("__") + IsaName(own)), std::string::npos);
  const ProductKernels& products = Kernels().products;
  EXPECT_EQ(products.terms, GetParam() == Isa::kAmx ? 3 : GetParam() == Isa::kAvx512Bf16 ? 1 : 0);
  if (products.pairs != nullptr) EXPECT_NE(std::string(products.pairs_name).find("__avx512bf16"), std::string::npos);
  if (products.tiles.run != nullptr) EXPECT_NE(std::string(products.tiles.name).find("__amx"), std::string::npos);
}

REPFUSE_FOR_ISAS(GemmTest);

}  // namespace
}  // namespace repfuse
