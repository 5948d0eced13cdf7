// Pooling over windows and over whole maps.
#pragma once

#include <cstdint>

#include "repfuse/status.h"

namespace repfuse {

struct PoolShape {
  int64_t planes, height, width;  // planes = batch * channels
  int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
  int64_t pad_top, pad_left, pad_bottom, pad_right;
  int64_t out_height, out_width;  // given: with ceil_mode a last window may hang over the edge
};

struct AverageDivisor {
  bool count_include_pad;
  int64_t override_value;  // 0: the window's size
};

Status CheckPoolShape(const PoolShape& shape);
// Padding counts as minus infinity.
Status MaxPool2d(const PoolShape& shape, const float* x, float* y, int threads);
// Sums in float64, rounds once. What hangs over the padded edge is never counted.
Status AveragePool2d(const PoolShape& shape, AverageDivisor divisor, const float* x, float* y, int threads);
// Mean of each plane, summed in float64.
Status GlobalAveragePool(int64_t planes, int64_t size, const float* x, float* y, int threads);

}  // namespace repfuse
