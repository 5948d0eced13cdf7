// What follows a convolution's sums where its tile leaves them unfinished.
#pragma once

#include <cstdint>

namespace repfuse {

// y[i] = min(max(x[i] + residual[i], low), high), NaN kept. `count` is a multiple of 16; x may be y.
struct FinishedRow {
  const float* x;
  const float* residual;  // or null
  float* y;
  int64_t count;
  float low, high;
};

}  // namespace repfuse
