// The transforms of Winograd's convolution F(rows x columns, 3 x 3) on one tile of one block of 16 channels (Lavin and Gray, 2016). Four
// outputs of an axis stand on the points 0, +-3/4, +-3/2 and infinity: exact in binary, and of a third of the textbook points' error.
#pragma once

#include <cstdint>

#include "conv_tile.h"

namespace repfuse {

// Outputs of a tile, 2 or 4 each way, and values of it in the domain: two more each way.
struct WinogradForm {
  int rows, columns;

  bool operator==(const WinogradForm&) const = default;
  int values() const { return (rows + 2) * (columns + 2); }
};

// [rows + 2, columns + 2] inputs, of 16 channels each, to as many values in Winograd's domain.
struct WinogradInput {
  const float* x;  // first pixel of the tile
  int64_t row;     // elements from one row of pixels to the next
  float* v;        // value (i, j) goes to v + (i * (columns + 2) + j) * value
  int64_t value;
};

// Products of the domain to [rows, columns] outputs.
struct WinogradOutput {
  const float* v;  // value (i, j) is at v + (i * (columns + 2) + j) * value
  int64_t value;
  const float* bias;  // [16]
  float* y;           // first pixel of the tile
  int64_t row;
  int rows, columns;      // of the tile that lie in the map
  const float* residual;  // of the same pixels, or null
  int64_t residual_row;   // elements of it from one row to the next
  float low, high;        // y = min(max(sum, low), high), NaN kept
};

// One axis of the transforms, for 2 or 4 outputs.
struct WinogradAxis {
  // Of a value of the domain: the sum of its inputs' factors, that of their squares, and the mean square, over the outputs, of its own.
  struct Value {
    double sum, squares, back;
  };

  explicit WinogradAxis(int outputs);

  double g[6][3];  // of a kernel's taps
  Value values[6];
  // A row of a kernel back from its values: the first of the point 0, the second of the difference of the points 1 and 2, which are each
  // other's negative, the last of infinity.
  double first, second;
};

// 16 kernels of 3 x 3 in the domain: as many values each as the form has, computed in float64 and rounded once.
void WinogradWeights(WinogradForm form, const float (*kernels)[kBlock], float (*u)[kBlock]);
// The kernels back, but for roundings: always the same from the same values, and 0 in place of what is not finite.
void WinogradKernelsOf(WinogradForm form, const float (*u)[kBlock], float (*kernels)[kBlock]);

}  // namespace repfuse
