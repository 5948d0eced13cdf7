// 4 x 4 tile in plain C++: the portable reference of the SIMD kernels. Kept scalar on purpose (the compiler would turn the
// inner loop into SSE code whose speed and rounding depend on its version).
#pragma GCC optimize("no-tree-vectorize")

#include "gemm.h"

#include <algorithm>

namespace repfuse {

void GemmTile__scalar(const GemmTile& t) {
  constexpr int kRows = 4, kColumns = 4;
  float acc[kRows][kColumns];
  const float* a[kRows];
  for (int r = 0; r < kRows; ++r) {
    const int row = std::min(r, t.rows - 1);  // rows past the end repeat the last one and are not stored
    a[r] = t.a + row * t.lda;
    for (int j = 0; j < kColumns; ++j) {
      if (t.accumulate) acc[r][j] = j < t.columns ? t.c[row * t.ldc + j] : 0.0f;
      else acc[r][j] = t.bias == nullptr ? 0.0f : t.bias[row];
    }
  }
  const float* b = t.b;
  for (int64_t k = 0; k < t.k; ++k, b += kColumns) {
    for (int r = 0; r < kRows; ++r) {
      for (int j = 0; j < kColumns; ++j) acc[r][j] += a[r][k] * b[j];
    }
  }
  for (int r = 0; r < t.rows; ++r) {
    for (int j = 0; j < t.columns; ++j) t.c[r * t.ldc + j] = t.relu && acc[r][j] < 0.0f ? 0.0f : acc[r][j];
  }
}

float Dot__scalar(const float* a, const float* b, size_t n) {
  float s[4] = {};
  size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (size_t j = 0; j < 4; ++j) s[j] += a[i + j] * b[i + j];
  }
  float sum = (s[0] + s[1]) + (s[2] + s[3]);
  for (; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace repfuse
