// Element-wise operators at every length around the vector widths.
#include "repfuse/elementwise.h"

#include <cmath>
#include <vector>

#include "isa_levels.h"

namespace repfuse {
namespace {

class ElementwiseTest : public IsaTest {};

TEST_P(ElementwiseTest, ReluAndAddOfEveryLength) {
  for (size_t n = 0; n < 70; ++n) {
    std::vector<float> a(n), b(n), y(n + 1, 9.0f);
    for (size_t i = 0; i < n; ++i) {
      a[i] = static_cast<float>(i % 5) - 2.0f;
      b[i] = static_cast<float>(i);
    }
    Kernels().relu(a.data(), y.data(), n);
    for (size_t i = 0; i < n; ++i) ASSERT_EQ(y[i], std::max(a[i], 0.0f));
    Kernels().add(a.data(), b.data(), y.data(), n);
    for (size_t i = 0; i < n; ++i) ASSERT_EQ(y[i], a[i] + b[i]);
    ASSERT_EQ(y[n], 9.0f) << "written past the end";
  }
}

TEST_P(ElementwiseTest, ReluKeepsNan) {
  const std::vector<float> x(33, NAN);
  std::vector<float> y(33);
  Kernels().relu(x.data(), y.data(), x.size());
  for (float v : y) EXPECT_TRUE(std::isnan(v));
}

REPFUSE_FOR_ISAS(ElementwiseTest);

TEST(FrameTest, PadsWithTheChannelsValueAndCrops) {
  const std::vector<float> x = {1, 2, 3, 4}, fill = {7};
  std::vector<float> padded(16), cropped(1);
  Frame({1, 1, 2, 2, 1, 1, 4, 4}, x.data(), fill.data(), padded.data(), 1);
  EXPECT_EQ(padded, (std::vector<float>{7, 7, 7, 7, 7, 1, 2, 7, 7, 3, 4, 7, 7, 7, 7, 7}));
  Frame({1, 1, 2, 2, -1, 0, 1, 1}, x.data(), fill.data(), cropped.data(), 1);
  EXPECT_EQ(cropped[0], 3.0f);
  std::vector<float> outside(4);
  Frame({1, 1, 2, 2, 5, 5, 2, 2}, x.data(), fill.data(), outside.data(), 1);
  EXPECT_EQ(outside, (std::vector<float>{7, 7, 7, 7}));
}

TEST(SoftmaxTest, LargeLogitsDoNotOverflow) {
  const std::vector<float> x = {1000, 1000, -1000};
  std::vector<float> y(3);
  Softmax(1, 3, 1, x.data(), y.data(), 1);
  EXPECT_FLOAT_EQ(y[0], 0.5f);
  EXPECT_EQ(y[2], 0.0f);
}

}  // namespace
}  // namespace repfuse
