// 6 x 16 tile: 12 accumulators, 2 vectors of B, one broadcast of A: 15 of 16 ymm registers. Narrow edges use 1 vector of columns, the last
// vector goes through a mask. Called by conv2d and linear through the kernel table.
#include "gemm.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")

namespace repfuse {
namespace {

constexpr int kRows = 6, kLanes = 8, kColumns = 16;

inline __m256i LaneMask(int count) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }

template <int kVectors>
inline void Run(const GemmTile& t) {
  __m256 acc[kRows][kVectors];
  const float* a[kRows];
  const __m256i mask = LaneMask(t.columns - (kVectors - 1) * kLanes);
  // Every loop over the tile has constant bounds and is unrolled: the accumulators then stay in registers.
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    const int row = r < t.rows ? r : t.rows - 1;  // rows past the end repeat the last one and are not stored
    a[r] = t.a + row * t.lda;
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) {
      if (t.accumulate) {
        const float* c = t.c + row * t.ldc + j * kLanes;
        acc[r][j] = j + 1 < kVectors ? _mm256_loadu_ps(c) : _mm256_maskload_ps(c, mask);
      } else {
        acc[r][j] = t.bias == nullptr ? _mm256_setzero_ps() : _mm256_set1_ps(t.bias[row]);
      }
    }
  }
  const float* b = t.b;
  for (int64_t k = 0; k < t.k; ++k, b += kColumns) {
    __m256 columns[kVectors];
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) columns[j] = _mm256_loadu_ps(b + j * kLanes);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m256 row = _mm256_set1_ps(a[r][k]);
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) acc[r][j] = _mm256_fmadd_ps(row, columns[j], acc[r][j]);
    }
  }
  const __m256 zero = _mm256_setzero_ps();
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    if (r >= t.rows) break;
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) {
      const __m256 value = t.relu ? _mm256_max_ps(zero, acc[r][j]) : acc[r][j];  // NaN is the second operand: kept
      float* c = t.c + r * t.ldc + j * kLanes;
      if (j + 1 < kVectors) _mm256_storeu_ps(c, value);
      else _mm256_maskstore_ps(c, mask, value);
    }
  }
}

}  // namespace

void GemmTile__avx2(const GemmTile& t) {
  if (t.columns > kLanes) return Run<2>(t);
  Run<1>(t);
}

float Dot__avx2(const float* a, const float* b, size_t n) {
  __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
  size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s0);
    s1 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), s1);
    s2 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 16), _mm256_loadu_ps(b + i + 16), s2);
    s3 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 24), _mm256_loadu_ps(b + i + 24), s3);
  }
  for (; i < n; i += 8) {
    const __m256i mask = LaneMask(n - i < 8 ? static_cast<int>(n - i) : 8);
    s0 = _mm256_fmadd_ps(_mm256_maskload_ps(a + i, mask), _mm256_maskload_ps(b + i, mask), s0);
  }
  alignas(32) float lanes[kLanes];
  _mm256_store_ps(lanes, _mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
  return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

}  // namespace repfuse

#pragma GCC pop_options
#endif
