// Direct: each output row starts at the bias and takes the taps one after the other while it is in L1.
#include "depthwise.h"

#include <algorithm>

#include "repfuse/kernels.h"
#include "repfuse/parallel.h"

namespace repfuse {
namespace {

// Outputs [first, last) whose input index `i * stride + offset` lies in [0, size).
struct Inside {
  int64_t first, last;
};

Inside InsideRange(int64_t outputs, int64_t size, int64_t stride, int64_t offset) {
  const int64_t first = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
  const int64_t last = offset >= size ? 0 : (size - 1 - offset) / stride + 1;
  return {std::min(first, outputs), std::clamp<int64_t>(last, 0, outputs)};
}

}  // namespace

void DepthwiseConv2d(const ConvShape& s, const float* x, const float* weight, const float* bias, bool relu, float* y, int threads) {
  const KernelTable& kernels = Kernels();
  const int64_t out_h = s.out_height(), out_w = s.out_width(), multiplier = s.out_channels / s.groups;
  ParallelFor(s.batch * s.out_channels, threads, [&](int64_t plane, int) {
    const int64_t n = plane / s.out_channels, o = plane % s.out_channels;
    const float* in = x + (n * s.in_channels + o / multiplier) * s.height * s.width;
    const float* taps = weight + o * s.kernel_h * s.kernel_w;
    float* out = y + plane * out_h * out_w;
    for (int64_t oy = 0; oy < out_h; ++oy, out += out_w) {
      std::fill_n(out, out_w, bias == nullptr ? 0.0f : bias[o]);
      for (int64_t u = 0; u < s.kernel_h; ++u) {
        const int64_t iy = oy * s.stride_h - s.pad_top + u * s.dilation_h;
        if (iy < 0 || iy >= s.height) continue;
        for (int64_t v = 0; v < s.kernel_w; ++v) {
          const int64_t offset = v * s.dilation_w - s.pad_left;
          const Inside range = InsideRange(out_w, s.width, s.stride_w, offset);
          if (range.first >= range.last) continue;
          kernels.tap_row(out + range.first, in + iy * s.width + range.first * s.stride_w + offset, taps[u * s.kernel_w + v],
                          static_cast<size_t>(range.last - range.first), static_cast<size_t>(s.stride_w));
        }
      }
      if (relu) kernels.relu(out, out, static_cast<size_t>(out_w));
    }
  });
}

}  // namespace repfuse
