// Windows of a pooling on blocks of 16 channels.
#pragma once

#include <cstdint>

namespace repfuse {

// A row of windows that all lie in the map. x: what the first one reads first; `row`, `column`: elements from one of its rows, and columns,
// to the next.
struct PoolWindows {
  const float* x;
  int64_t rows, row, columns, column;
  int64_t pixel;  // elements of x from one window to the next
  float* y;       // [pixels][16]
  int64_t pixels;
  double share;  // of a mean: what each sum is multiplied by
};

}  // namespace repfuse
