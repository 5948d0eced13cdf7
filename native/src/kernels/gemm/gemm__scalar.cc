// 4 x 4 tile in plain C++: the portable reference of the SIMD kernels. Kept scalar on purpose (the compiler would turn the
// inner loop into SSE code whose speed and rounding depend on its version).
#pragma GCC optimize("no-tree-vectorize")

#include "gemm.h"

namespace repfuse {

void GemmTile__scalar(const GemmTile& t) {
  constexpr int kRows = 4, kColumns = 4;
  float acc[kRows][kColumns];
  for (int r = 0; r < kRows; ++r) {
    for (int j = 0; j < kColumns; ++j) {
      acc[r][j] = t.start != nullptr ? t.start[r] : (r < t.rows && j < t.columns ? t.c[r * t.ldc + j] : 0.0f);
    }
  }
  const float* a = t.a;
  const float* b = t.b;
  for (int64_t k = 0; k < t.k; ++k, a += kRows, b += kColumns) {
    for (int r = 0; r < kRows; ++r) {
      for (int j = 0; j < kColumns; ++j) acc[r][j] += a[r] * b[j];
    }
  }
  for (int r = 0; r < t.rows; ++r) {
    for (int j = 0; j < t.columns; ++j) t.c[r * t.ldc + j] = t.relu && acc[r][j] < 0.0f ? 0.0f : acc[r][j];
  }
}

float Dot__scalar(const float* a, const float* b, size_t n) {
  float sum = 0.0f;
  for (size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace repfuse
