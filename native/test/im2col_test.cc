// Panels of the im2col matrix, element by element, and depthwise rows, for every stride, tap and tail.
#include "kernels/conv/im2col.h"

#include <cmath>

#include "isa_levels.h"
#include "kernels/depthwise/depthwise.h"

namespace repfuse {
namespace {

class Im2colTest : public IsaTest {};

std::vector<float> Counting(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i + 1);
  return values;
}

// Asymmetric everything: padding and cropping, kernel 3 x 2, dilation.
std::vector<ConvShape> Shapes() {
  std::vector<ConvShape> shapes;
  for (int64_t stride = 1; stride <= 3; ++stride) {
    for (int64_t width : {1, 2, 5, 16, 37}) {
      for (int64_t pad : {0, 3, -1}) {
        const ConvShape s{.batch = 1,
                          .in_channels = 2,
                          .height = 6,
                          .width = width,
                          .out_channels = 1,
                          .kernel_h = 3,
                          .kernel_w = 2,
                          .stride_h = 1,
                          .stride_w = stride,
                          .pad_top = 1,
                          .pad_left = pad,
                          .pad_bottom = 2,
                          .pad_right = pad + 1,
                          .dilation_h = 2,
                          .dilation_w = 3,
                          .groups = 1};
        if (CheckConvShape(s).ok()) shapes.push_back(s);
      }
    }
  }
  return shapes;
}

float At(const ConvShape& s, const std::vector<float>& x, int64_t channel, int64_t oy, int64_t ox, int64_t u, int64_t v) {
  const int64_t iy = oy * s.stride_h - s.pad_top + u * s.dilation_h, ix = ox * s.stride_w - s.pad_left + v * s.dilation_w;
  if (iy < 0 || iy >= s.height || ix < 0 || ix >= s.width) return 0.0f;
  return x[static_cast<size_t>((channel * s.height + iy) * s.width + ix)];
}

TEST_P(Im2colTest, EveryElementOfEveryPanel) {
  const int64_t columns = Kernels().gemm.columns;
  const auto shapes = Shapes();
  ASSERT_GT(shapes.size(), 20u);
  for (const ConvShape& s : shapes) {
    const auto x = Counting(s.in_channels * s.height * s.width);
    const int64_t pixels = s.out_height() * s.out_width(), k_total = s.in_channels * s.kernel_h * s.kernel_w;
    PanelPacker packer(s, Kernels());
    for (int64_t first = 0; first < pixels; first += columns) {
      const int64_t count = std::min(columns, pixels - first);
      packer.SetPixels(first, count);
      for (const auto& [begin, end] : std::vector<std::pair<int64_t, int64_t>>{{0, k_total}, {1, 8}, {5, 6}}) {
        std::vector<float> panel(static_cast<size_t>((end - begin) * columns), NAN);
        packer.Pack(x.data(), begin, end, panel.data());
        for (int64_t k = begin; k < end; ++k) {
          for (int64_t j = 0; j < count; ++j) {
            const float want = At(s, x, k / 6, (first + j) / s.out_width(), (first + j) % s.out_width(), k % 6 / 2, k % 2);
            ASSERT_EQ(panel[static_cast<size_t>((k - begin) * columns + j)], want)
                << "stride " << s.stride_w << " width " << s.width << " pad " << s.pad_left;
          }
        }
      }
    }
  }
}

TEST_P(Im2colTest, DepthwiseOfEveryShape) {
  for (ConvShape s : Shapes()) {
    s.groups = s.in_channels;
    s.out_channels = 2 * s.in_channels;  // a channel multiplier
    const auto x = Counting(s.in_channels * s.height * s.width), w = Counting(s.out_channels * 6);
    const std::vector<float> bias = {-50000, 1, 2, 3};
    std::vector<float> y(static_cast<size_t>(s.out_channels * s.out_height() * s.out_width()) + 1, 9.0f);
    DepthwiseConv2d(s, x.data(), w.data(), bias.data(), true, y.data(), 2);
    size_t i = 0;
    for (int64_t o = 0; o < s.out_channels; ++o) {
      for (int64_t oy = 0; oy < s.out_height(); ++oy) {
        for (int64_t ox = 0; ox < s.out_width(); ++ox, ++i) {
          float want = bias[static_cast<size_t>(o)];  // small integers: exact in float32
          for (int64_t tap = 0; tap < 6; ++tap) want += w[static_cast<size_t>(o * 6 + tap)] * At(s, x, o / 2, oy, ox, tap / 2, tap % 2);
          ASSERT_EQ(y[i], std::max(want, 0.0f)) << "stride " << s.stride_w << " width " << s.width << " pad " << s.pad_left;
        }
      }
    }
    ASSERT_EQ(y[i], 9.0f) << "written past the end";
  }
}

REPFUSE_FOR_ISAS(Im2colTest);

}  // namespace
}  // namespace repfuse
