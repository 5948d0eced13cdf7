// The sum of all pixels of a map, and of a row while it is near.
#pragma once

#include <cstdint>

namespace repfuse {

// Of 16 channels that lie together, in float64: sum[c] = the sum of x[row * pitch + pixel * 16 + c].
struct MapSum {
  const float* x;
  int64_t rows, pixels, pitch;
  double* sum;
};

// Of 16 channels that lie together, row by row: sum[row * 16 + c] = (0 in place of what stood there, where `first` says so) + the sum of
// x[row * pitch + pixel * 16 + c]: in float32 of a few pixels each, in float64 of those.
struct RowSums16 {
  const float* x;
  int64_t rows, pixels, pitch;
  double* sum;
  bool first;
};

}  // namespace repfuse
