// What follows a convolution's sums where its tile leaves them unfinished.
#pragma once

#include <cstddef>
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

// row[i] = row[i] * scale[i % 16] + shift[i % 16], rounded once. `count` is a multiple of 16.
struct AffineRow {
  float* row;
  const float *scale, *shift;  // of 16 channels
  size_t count;
};

}  // namespace repfuse
