// Convolution by im2col and a packed matrix product; depthwise filters directly.
#pragma once

#include <cstdint>

#include "repfuse/status.h"

namespace repfuse {

// Cross-correlation, as PyTorch's conv2d. Layouts: input NCHW, weight OIHW [out_channels, in_channels / groups, kernel_h, kernel_w].
// Padding is zeros, per side; negative padding crops.
struct ConvShape {
  int64_t batch, in_channels, height, width;
  int64_t out_channels, kernel_h, kernel_w;
  int64_t stride_h, stride_w;
  int64_t pad_top, pad_left, pad_bottom, pad_right;
  int64_t dilation_h, dilation_w;
  int64_t groups;

  int64_t out_height() const { return Windows(height, kernel_h, stride_h, pad_top, pad_bottom, dilation_h); }
  int64_t out_width() const { return Windows(width, kernel_w, stride_w, pad_left, pad_right, dilation_w); }

 private:
  static int64_t Windows(int64_t size, int64_t kernel, int64_t stride, int64_t before, int64_t after, int64_t dilation) {
    const int64_t free = size + before + after - dilation * (kernel - 1) - 1;
    return free < 0 ? 0 : free / stride + 1;
  }
};

// Sizes positive, channels divisible by groups, at least one output pixel, element counts that do not wrap.
Status CheckConvShape(const ConvShape& shape);

// y[n, o] = relu?(sum(w[o] * x[n]) + bias[o]). `bias` may be null. One reduction is never split between threads and its blocking
// is fixed, so the result does not depend on `threads`.
Status Conv2d(const ConvShape& shape, const float* x, const float* weight, const float* bias, bool relu, float* y, int threads);

}  // namespace repfuse
