// conv2d against its definition in float64, and the refusals that memory safety needs.
#include "repfuse/conv.h"

#include <cmath>
#include <random>

#include "isa_levels.h"

namespace repfuse {
namespace {

class ConvTest : public IsaTest {};

struct Tensors {
  std::vector<float> x, w, b;
};

Tensors RandomTensors(const ConvShape& s, uint32_t seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  const auto draw = [&](int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& v : values) v = uniform(engine);
    return values;
  };
  return {draw(s.batch * s.in_channels * s.height * s.width), draw(s.out_channels * (s.in_channels / s.groups) * s.kernel_h * s.kernel_w),
          draw(s.out_channels)};
}

std::vector<double> Reference(const ConvShape& s, const Tensors& t) {
  std::vector<double> y;
  const int64_t in_per_group = s.in_channels / s.groups, out_per_group = s.out_channels / s.groups;
  for (int64_t n = 0; n < s.batch; ++n) {
    for (int64_t o = 0; o < s.out_channels; ++o) {
      for (int64_t oy = 0; oy < s.out_height(); ++oy) {
        for (int64_t ox = 0; ox < s.out_width(); ++ox) {
          double sum = t.b[static_cast<size_t>(o)];
          for (int64_t i = 0; i < in_per_group; ++i) {
            for (int64_t u = 0; u < s.kernel_h; ++u) {
              for (int64_t v = 0; v < s.kernel_w; ++v) {
                const int64_t iy = oy * s.stride_h - s.pad_top + u * s.dilation_h, ix = ox * s.stride_w - s.pad_left + v * s.dilation_w;
                if (iy < 0 || iy >= s.height || ix < 0 || ix >= s.width) continue;
                const int64_t c = o / out_per_group * in_per_group + i;
                sum += static_cast<double>(t.x[static_cast<size_t>(((n * s.in_channels + c) * s.height + iy) * s.width + ix)]) *
                       t.w[static_cast<size_t>(((o * in_per_group + i) * s.kernel_h + u) * s.kernel_w + v)];
              }
            }
          }
          y.push_back(sum);
        }
      }
    }
  }
  return y;
}

ConvShape Shape(int64_t batch, int64_t in, int64_t out, int64_t h, int64_t w, int64_t k, int64_t stride, int64_t pad, int64_t dilation,
                int64_t groups) {
  return {batch, in, h, w, out, k, k, stride, stride, pad, pad, pad, pad, dilation, dilation, groups};
}

TEST_P(ConvTest, MatchesTheDefinition) {
  const std::vector<ConvShape> shapes = {
      Shape(1, 3, 8, 15, 17, 3, 2, 1, 1, 1),    // stem
      Shape(2, 24, 17, 9, 11, 3, 1, 1, 1, 1),   // ragged channels
      Shape(1, 64, 40, 13, 13, 3, 1, 1, 1, 1),  // several blocks of the reduction
      Shape(1, 30, 21, 7, 7, 1, 1, 0, 1, 1),    // pointwise
      Shape(1, 12, 18, 10, 10, 3, 1, 2, 2, 3),  // groups, dilation
      Shape(2, 9, 9, 12, 7, 5, 2, 2, 1, 9),     // depthwise
      Shape(1, 5, 15, 6, 6, 3, 1, 1, 1, 5),     // channel multiplier
      Shape(3, 4, 4, 1, 1, 1, 1, 0, 1, 1),      // single pixel
      Shape(1, 8, 8, 9, 9, 3, 1, -1, 1, 1),     // negative padding crops
  };
  uint32_t seed = 0;
  for (const ConvShape& s : shapes) {
    const Tensors t = RandomTensors(s, ++seed);
    const std::vector<double> want = Reference(s, t);
    double peak = 0;
    for (double v : want) peak = std::max(peak, std::fabs(v));
    for (int threads : {1, 2, 5}) {
      std::vector<float> y(want.size(), NAN);
      ASSERT_TRUE(Conv2d(s, t.x.data(), t.w.data(), t.b.data(), false, y.data(), threads).ok());
      for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(y[i], want[i], 2e-6 * peak) << "shape " << seed << " element " << i;
    }
  }
}

TEST_P(ConvTest, TheSameBitsForEveryThreadCount) {
  const ConvShape s = Shape(1, 96, 56, 14, 14, 3, 1, 1, 1, 1);
  const Tensors t = RandomTensors(s, 99);
  std::vector<float> first(static_cast<size_t>(56 * 14 * 14)), other(first.size());
  ASSERT_TRUE(Conv2d(s, t.x.data(), t.w.data(), t.b.data(), true, first.data(), 1).ok());
  for (int threads : {2, 3, 7}) {
    ASSERT_TRUE(Conv2d(s, t.x.data(), t.w.data(), t.b.data(), true, other.data(), threads).ok());
    EXPECT_EQ(first, other) << threads;
  }
}

REPFUSE_FOR_ISAS(ConvTest);

TEST(ConvShapeTest, HostileShapesAreRefused) {
  const ConvShape good = Shape(1, 4, 4, 8, 8, 3, 1, 1, 1, 2);
  EXPECT_TRUE(CheckConvShape(good).ok());
  const auto refuses = [&](auto change) {
    ConvShape s = good;
    change(s);
    EXPECT_EQ(CheckConvShape(s).code, Code::kInvalidArgument);
  };
  refuses([](ConvShape& s) { s.batch = 0; });
  refuses([](ConvShape& s) { s.groups = 3; });
  refuses([](ConvShape& s) { s.groups = 0; });
  refuses([](ConvShape& s) { s.height = -1; });
  refuses([](ConvShape& s) { s.stride_w = 0; });
  refuses([](ConvShape& s) { s.kernel_h = 11; });
  refuses([](ConvShape& s) { s.dilation_h = int64_t{1} << 31; });
  refuses([](ConvShape& s) { s.pad_top = int64_t{1} << 40; });
  refuses([](ConvShape& s) { s.batch = s.height = s.width = int64_t{1} << 31; });
}

}  // namespace
}  // namespace repfuse
