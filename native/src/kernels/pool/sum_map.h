// The sum of all pixels of a map.
#pragma once

#include <cstdint>

namespace repfuse {

// Of 16 channels that lie together, in float64: sum[c] = the sum of x[row * pitch + pixel * 16 + c].
struct MapSum {
  const float* x;
  int64_t rows, pixels, pitch;
  double* sum;
};

}  // namespace repfuse
