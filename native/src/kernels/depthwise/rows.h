// Output rows of a depthwise filter: bias, then the taps in the order of the weight, in registers.
#pragma once

#include <cstdint>

#include "../conv/lanes.h"

namespace repfuse {

// Output rows that meet the map with the same rows of the kernel.
struct DepthwiseRows {
  const float* x;       // what the first output reads at the first tap; may lie in the padding
  const float* weight;  // [kernel_h][kernel_w], from the first row of the kernel that meets the map
  float* y;             // [out_h][out_w]
  int64_t kernel_h, kernel_w, out_h, out_w;
  int64_t tap_row, tap_column;  // elements from one row or column of the kernel to the next
  int64_t stride_row, stride;   // elements from one output row or column to the next
  const LaneRange* inside;      // [vectors of out_w][kernel_w]: lanes that read inside the map
  float bias;
  bool relu;
};

}  // namespace repfuse
