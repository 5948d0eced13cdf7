// Half precision against its definition: every pattern, every midpoint between two, and the float64 next to it on either side.
#include "kernels/half/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "repfuse/narrow.h"

namespace repfuse {
namespace {

struct Type {
  HalfType type;
  uint16_t infinity;
  double (*value)(uint16_t bits);
};

double F16Value(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  return exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
}

double Bf16Value(uint16_t bits) {
  const int exponent = bits >> 7 & 255, fraction = bits & 127;
  return exponent == 0 ? std::ldexp(fraction, -133) : std::ldexp(128 + fraction, exponent - 134);
}

class HalfTest : public testing::TestWithParam<Type> {
 protected:
  static uint16_t Round(double value) {
    uint16_t bits;
    Narrow(GetParam().type, {&value, 1}, &bits, 1);
    return bits;
  }
};

TEST_P(HalfTest, RoundsOnceToNearestTiesToEven) {
  const auto& [type, infinity, value] = GetParam();
  for (uint16_t bits = 0; bits < infinity; ++bits) {
    const double low = value(bits), high = value(static_cast<uint16_t>(bits + 1));  // the formula goes on where infinity stands
    const double middle = (low + high) / 2;
    const auto up = static_cast<uint16_t>(bits + 1), even = bits % 2 == 0 ? bits : up;
    for (const uint16_t sign : {uint16_t{0}, uint16_t{0x8000}}) {
      const double s = sign != 0 ? -1 : 1;
      ASSERT_EQ(Round(s * low), bits | sign) << low;
      ASSERT_EQ(Round(s * middle), even | sign) << middle;
      // These differ from the middle by less than a float32 can tell.
      ASSERT_EQ(Round(s * std::nextafter(middle, 0)), bits | sign) << middle;
      ASSERT_EQ(Round(s * std::nextafter(middle, HUGE_VAL)), up | sign) << middle;
      const float single = static_cast<float>(low);
      uint16_t same;
      Narrow(type, {&single, 1}, &same, 1);
      ASSERT_EQ(same, bits);
    }
  }
}

TEST_P(HalfTest, InfinityAndNaNStayWhatTheyAre) {
  const uint16_t infinity = GetParam().infinity;
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(Round(inf), infinity);
  EXPECT_EQ(Round(-inf), infinity | 0x8000);
  EXPECT_GT(Round(std::nan("")) & 0x7fff, infinity);
  for (const uint32_t payload : {1u, 0x2000u, 0x10000u, 0x3fffffu}) {
    const float nan = FloatFromBits(0x7f800000u | payload);
    uint16_t bits;
    Narrow(GetParam().type, {&nan, 1}, &bits, 1);
    EXPECT_GT(bits & 0x7fff, infinity) << payload;
  }
}

TEST_P(HalfTest, CountsWhatIsLost) {
  const uint16_t infinity = GetParam().infinity;
  const auto largest = static_cast<uint16_t>(infinity - 1);
  const double too_large = GetParam().value(infinity), tiny = GetParam().value(1) / 4;
  std::vector<double> values(300000, 1.0);
  std::vector<uint16_t> bits(values.size());
  values[3] = std::numeric_limits<double>::infinity();
  values[70001] = tiny, values[70002] = 0, values[299999] = -tiny;
  for (const int threads : {1, 3}) {
    NarrowStats stats = Narrow(GetParam().type, std::span<const double>(values), bits.data(), threads);
    EXPECT_EQ(stats.overflow, -1);
    EXPECT_EQ(stats.flushed, 2);
    EXPECT_EQ(bits[70001], 0);
    auto over = values;
    over[250000] = too_large, over[200000] = -too_large, over[100] = GetParam().value(largest);
    stats = Narrow(GetParam().type, std::span<const double>(over), bits.data(), threads);
    EXPECT_EQ(stats.overflow, 200000);
    EXPECT_EQ(bits[100], largest);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, HalfTest, testing::Values(Type{HalfType::kF16, 0x7c00, F16Value}, Type{HalfType::kBf16, 0x7f80, Bf16Value}),
                         [](const auto& info) { return info.param.type == HalfType::kF16 ? "F16" : "Bf16"; });

}  // namespace
}  // namespace repfuse
