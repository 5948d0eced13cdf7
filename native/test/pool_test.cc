// Pooling semantics: padding, hanging windows, divisors.
#include "repfuse/pool.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace repfuse {
namespace {

PoolShape Shape(int64_t size, int64_t kernel, int64_t stride, int64_t pad, int64_t out) {
  return {1, size, size, kernel, kernel, stride, stride, 1, 1, pad, pad, pad, pad, out, out};
}

TEST(PoolTest, AverageOfOnesIncludesOrExcludesPadding) {
  const std::vector<float> ones(9, 1.0f);
  std::vector<float> y(9);
  ASSERT_TRUE(AveragePool2d(Shape(3, 3, 1, 1, 3), {true, 0}, ones.data(), y.data(), 1).ok());
  EXPECT_FLOAT_EQ(y[0], 4.0f / 9);
  EXPECT_FLOAT_EQ(y[1], 2.0f / 3);
  EXPECT_FLOAT_EQ(y[4], 1.0f);
  ASSERT_TRUE(AveragePool2d(Shape(3, 3, 1, 1, 3), {false, 0}, ones.data(), y.data(), 1).ok());
  for (float v : y) EXPECT_EQ(v, 1.0f);
  ASSERT_TRUE(AveragePool2d(Shape(3, 3, 1, 1, 3), {true, 2}, ones.data(), y.data(), 1).ok());
  EXPECT_EQ(y[4], 4.5f);
}

TEST(PoolTest, AHangingWindowCountsOnlyWhatIsInside) {
  std::vector<float> x(25);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  std::vector<float> y(9);
  ASSERT_TRUE(AveragePool2d(Shape(5, 2, 2, 0, 3), {true, 0}, x.data(), y.data(), 2).ok());
  EXPECT_EQ(y[8], 24.0f);
  ASSERT_TRUE(MaxPool2d(Shape(5, 2, 2, 0, 3), x.data(), y.data(), 2).ok());
  EXPECT_EQ(y[0], 6.0f);
  EXPECT_EQ(y[8], 24.0f);
}

TEST(PoolTest, MaximumTakesPaddingForMinusInfinityAndKeepsNan) {
  std::vector<float> x(9, -5.0f);
  std::vector<float> y(9);
  ASSERT_TRUE(MaxPool2d(Shape(3, 3, 1, 1, 3), x.data(), y.data(), 1).ok());
  for (float v : y) EXPECT_EQ(v, -5.0f);
  x[4] = NAN;
  ASSERT_TRUE(MaxPool2d(Shape(3, 3, 1, 1, 3), x.data(), y.data(), 1).ok());
  for (float v : y) EXPECT_TRUE(std::isnan(v));
}

TEST(PoolTest, GlobalAverageSumsInDouble) {
  std::vector<float> x(1 << 20, 0.1f);
  float y = 0;
  ASSERT_TRUE(GlobalAveragePool(1, 1 << 20, x.data(), &y, 1).ok());
  EXPECT_FLOAT_EQ(y, 0.1f);
}

TEST(PoolTest, HostileShapesAreRefused) {
  PoolShape s = Shape(5, 2, 2, 0, 4);  // a fourth window would begin outside
  EXPECT_EQ(CheckPoolShape(s).code, Code::kInvalidArgument);
  s = Shape(5, 2, 2, 0, 3);
  EXPECT_TRUE(CheckPoolShape(s).ok());
  s.planes = int64_t{1} << 62;
  EXPECT_EQ(CheckPoolShape(s).code, Code::kInvalidArgument);
  s = Shape(5, 2, 2, -1, 2);
  EXPECT_EQ(CheckPoolShape(s).code, Code::kInvalidArgument);
}

}  // namespace
}  // namespace repfuse
