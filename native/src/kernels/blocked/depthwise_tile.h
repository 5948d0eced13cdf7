// The register tile of depthwise convolution over channel blocks: neighbouring pixels of one block of 16 channels, in one row or two.
#pragma once

#include <cstdint>

#include "conv_tile.h"

namespace repfuse {

inline constexpr int kMaxDepthwisePixels = 8;

struct DepthwiseTile {
  const float* x;       // what the first pixel reads is at x + taps[...]
  const int64_t* taps;  // where there are two rows, those of a row more
  int64_t tap_count;
  int64_t neighbours;           // taps in a row, one input after the other: 3, 5, 7, where `pixel` is a block or two; else 1
  int64_t pixel;                // elements of x from one pixel to the next
  const float* weight;          // [tap][16]
  float* y;                     // [pixel][16]
  const float* bias;            // [16]
  const float* residual;        // laid out as y, or null
  int rows;                     // 2 only where `neighbours` is more than 1, `pixel` a block, and the level takes two (BlockedKernels)
  int64_t y_row, residual_row;  // elements from one row to the next, where there are two
  float low, high;              // y = min(max(sum, low), high), NaN kept
};

}  // namespace repfuse
