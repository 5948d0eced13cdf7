// The transforms of Winograd's convolution F(m x m, 3 x 3) on one tile of one block of 16 channels (Lavin and Gray, 2016). F(4, 3) stands
// on the points 0, +-3/4, +-3/2 and infinity: exact in binary, and of a third of the textbook points' error.
#pragma once

#include <cstdint>

#include "conv_tile.h"

namespace repfuse {

// [m + 2, m + 2] inputs, of 16 channels each, to as many values in Winograd's domain.
struct WinogradInput {
  const float* x;  // first pixel of the tile
  int64_t row;     // elements from one row of pixels to the next
  float* v;        // value (i, j) goes to v + (i * (m + 2) + j) * value
  int64_t value;
};

// Products of the domain to [m, m] outputs.
struct WinogradOutput {
  const float* v;  // value (i, j) is at v + (i * (m + 2) + j) * value
  int64_t value;
  const float* bias;  // [16]
  float* y;           // first pixel of the tile
  int64_t row;
  int rows, columns;      // of the tile that lie in the map
  const float* residual;  // of the same pixels, or null
  int64_t residual_row;   // elements of it from one row to the next
  float low, high;        // y = min(max(sum, low), high), NaN kept
};

// Values of one axis in the domain: m + 2.
inline constexpr int WinogradSize(int m) { return m + 2; }
// 16 kernels of 3 x 3 in the domain: (m + 2)^2 values each, computed in float64 and rounded once. `m` is 2 or 4.
void WinogradWeights(int m, const float (*kernels)[kBlock], float (*u)[kBlock]);
// The kernels back, but for roundings: always the same from the same values, and 0 in place of what is not finite.
void WinogradKernelsOf(int m, const float (*u)[kBlock], float (*kernels)[kBlock]);

}  // namespace repfuse
