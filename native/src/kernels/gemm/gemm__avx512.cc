// 8 x 48 tile: 24 accumulators, 3 vectors of B, one broadcast of A: 28 of 32 zmm registers. Narrow edges use 1 or 2 vectors of columns,
// the last vector goes through a mask. Called by conv2d and linear through the kernel table.
#include "gemm.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")

namespace repfuse {
namespace {

constexpr int kRows = 8, kLanes = 16, kColumns = 48;

template <int kVectors>
inline void Run(const GemmTile& t) {
  __m512 acc[kRows][kVectors];
  const float* a[kRows];
  const __mmask16 mask = static_cast<__mmask16>((1u << (t.columns - (kVectors - 1) * kLanes)) - 1u);
  // Every loop over the tile has constant bounds and is unrolled: the accumulators then stay in registers.
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const int row = r < t.rows ? r : t.rows - 1;  // rows past the end repeat the last one and are not stored
    a[r] = t.a + row * t.lda;
#pragma GCC unroll 3
    for (int j = 0; j < kVectors; ++j) {
      if (t.accumulate) {
        const float* c = t.c + row * t.ldc + j * kLanes;
        acc[r][j] = j + 1 < kVectors ? _mm512_loadu_ps(c) : _mm512_maskz_loadu_ps(mask, c);
      } else {
        acc[r][j] = t.bias == nullptr ? _mm512_setzero_ps() : _mm512_set1_ps(t.bias[row]);
      }
    }
  }
  const float* b = t.b;
  for (int64_t k = 0; k < t.k; ++k, b += kColumns) {
    __m512 columns[kVectors];
#pragma GCC unroll 3
    for (int j = 0; j < kVectors; ++j) columns[j] = _mm512_loadu_ps(b + j * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512 row = _mm512_set1_ps(a[r][k]);
#pragma GCC unroll 3
      for (int j = 0; j < kVectors; ++j) acc[r][j] = _mm512_fmadd_ps(row, columns[j], acc[r][j]);
    }
  }
  const __m512 zero = _mm512_setzero_ps();
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    if (r >= t.rows) break;
#pragma GCC unroll 3
    for (int j = 0; j < kVectors; ++j) {
      const __m512 value = t.relu ? _mm512_max_ps(zero, acc[r][j]) : acc[r][j];  // NaN is the second operand: kept
      float* c = t.c + r * t.ldc + j * kLanes;
      if (j + 1 < kVectors) _mm512_storeu_ps(c, value);
      else _mm512_mask_storeu_ps(c, mask, value);
    }
  }
}

}  // namespace

void GemmTile__avx512(const GemmTile& t) {
  if (t.columns > 2 * kLanes) return Run<3>(t);
  if (t.columns > kLanes) return Run<2>(t);
  Run<1>(t);
}

float Dot__avx512(const float* a, const float* b, size_t n) {
  __m512 s0 = _mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
  size_t i = 0;
  for (; i + 64 <= n; i += 64) {
    s0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), s0);
    s1 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16), _mm512_loadu_ps(b + i + 16), s1);
    s2 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 32), _mm512_loadu_ps(b + i + 32), s2);
    s3 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 48), _mm512_loadu_ps(b + i + 48), s3);
  }
  for (; i < n; i += 16) {
    const __mmask16 mask = static_cast<__mmask16>(n - i >= 16 ? 0xffffu : (1u << (n - i)) - 1u);
    s0 = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, a + i), _mm512_maskz_loadu_ps(mask, b + i), s0);
  }
  alignas(64) float lanes[kLanes];
  _mm512_store_ps(lanes, _mm512_add_ps(_mm512_add_ps(s0, s1), _mm512_add_ps(s2, s3)));
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int j = 0; j < width; ++j) lanes[j] += lanes[j + width];
  }
  return lanes[0];
}

}  // namespace repfuse

#pragma GCC pop_options
#endif
