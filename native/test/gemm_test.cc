// The matrix product's tiles at every edge, against float64.
#include "kernels/gemm/gemm.h"

#include <cmath>
#include <random>

#include "isa_levels.h"

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
  constexpr int64_t kDepth = 37;
  const int64_t ldc = kernel.columns + 5;
  const auto a = RandomFloats(static_cast<size_t>(kDepth * kernel.rows), 1), b = RandomFloats(static_cast<size_t>(kDepth * kernel.columns), 2);
  const auto start = RandomFloats(static_cast<size_t>(kernel.rows), 3);
  for (int rows = 1; rows <= kernel.rows; ++rows) {
    for (int columns = 1; columns <= kernel.columns; ++columns) {
      for (const bool from_c : {false, true}) {
        for (const bool relu : {false, true}) {
          std::vector<float> c(static_cast<size_t>(kernel.rows * ldc), 7.0f);
          kernel.run({.k = kDepth, .a = a.data(), .b = b.data(), .c = c.data(), .ldc = ldc, .rows = rows, .columns = columns,
                      .start = from_c ? nullptr : start.data(), .relu = relu});
          for (int r = 0; r < kernel.rows; ++r) {
            for (int64_t j = 0; j < ldc; ++j) {
              const float got = c[static_cast<size_t>(r * ldc + j)];
              if (r >= rows || j >= columns) {
                ASSERT_EQ(got, 7.0f) << "written outside " << rows << "x" << columns << " at " << r << "," << j;
                continue;
              }
              double want = from_c ? 7.0 : start[static_cast<size_t>(r)];
              for (int64_t k = 0; k < kDepth; ++k) want += static_cast<double>(a[static_cast<size_t>(k * kernel.rows + r)]) * b[static_cast<size_t>(k * kernel.columns + j)];
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
  std::vector<float> a(static_cast<size_t>(kernel.rows), NAN), b(static_cast<size_t>(kernel.columns), 1.0f), start(static_cast<size_t>(kernel.rows));
  std::vector<float> c(static_cast<size_t>(kernel.rows * kernel.columns));
  kernel.run({.k = 1, .a = a.data(), .b = b.data(), .c = c.data(), .ldc = kernel.columns, .rows = 1, .columns = 1, .start = start.data(), .relu = true});
  EXPECT_TRUE(std::isnan(c[0]));
}

TEST_P(GemmTest, DotOfEveryLength) {
  for (size_t n = 0; n < 100; ++n) {
    const auto a = RandomFloats(n, 5), b = RandomFloats(n, 6);
    double want = 0;
    for (size_t i = 0; i < n; ++i) want += static_cast<double>(a[i]) * b[i];
    ASSERT_NEAR(Kernels().dot(a.data(), b.data(), n), want, 1e-5) << n;
  }
}

TEST_P(GemmTest, TheTableNamesItsOwnLevel) {
  EXPECT_EQ(Kernels().isa, GetParam());
  EXPECT_NE(std::string(Kernels().gemm.name).find(IsaName(GetParam())), std::string::npos);
}

REPFUSE_FOR_ISAS(GemmTest);

}  // namespace
}  // namespace repfuse
