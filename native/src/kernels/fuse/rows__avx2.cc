// Inner loops of fusing, 4 doubles a vector, two vectors a step; tails one by one. Products: 8 vectors of columns by one tap in
// registers. Multiply and add stay separate: a contracted FMA would round once where the other levels round twice.
#include "rows.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

#include "repfuse/kernels.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")

namespace repfuse {

void FuseScale__avx2(double* acc, const float* w, double scale, size_t n) {
  const __m256d s = _mm256_set1_pd(scale), zero = _mm256_setzero_pd();
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256d lo = _mm256_cvtps_pd(_mm_loadu_ps(w + i)), hi = _mm256_cvtps_pd(_mm_loadu_ps(w + i + 4));
    _mm256_storeu_pd(acc + i, _mm256_add_pd(zero, _mm256_mul_pd(s, lo)));
    _mm256_storeu_pd(acc + i + 4, _mm256_add_pd(zero, _mm256_mul_pd(s, hi)));
  }
  for (; i < n; ++i) acc[i] = 0.0 + scale * static_cast<double>(w[i]);
}

void FuseAccumulate__avx2(double* acc, const float* w, double scale, size_t n) {
  const __m256d s = _mm256_set1_pd(scale);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256d lo = _mm256_cvtps_pd(_mm_loadu_ps(w + i)), hi = _mm256_cvtps_pd(_mm_loadu_ps(w + i + 4));
    _mm256_storeu_pd(acc + i, _mm256_add_pd(_mm256_loadu_pd(acc + i), _mm256_mul_pd(s, lo)));
    _mm256_storeu_pd(acc + i + 4, _mm256_add_pd(_mm256_loadu_pd(acc + i + 4), _mm256_mul_pd(s, hi)));
  }
  for (; i < n; ++i) acc[i] += scale * static_cast<double>(w[i]);
}

void FuseRound__avx2(const double* acc, float* out, size_t n) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128 lo = _mm256_cvtpd_ps(_mm256_loadu_pd(acc + i)), hi = _mm256_cvtpd_ps(_mm256_loadu_pd(acc + i + 4));
    _mm256_storeu_ps(out + i, _mm256_set_m128(hi, lo));
  }
  for (; i < n; ++i) out[i] = static_cast<float>(acc[i]);
}

uint32_t FuseScan__avx2(const float* w, size_t n) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  __m256i most[4];
  for (int k = 0; k < 4; ++k) most[k] = _mm256_setzero_si256();
  size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    for (int k = 0; k < 4; ++k) {
      const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + i + 8 * k));
      most[k] = _mm256_max_epu32(most[k], _mm256_and_si256(magnitude, bits));
    }
  }
  alignas(32) uint32_t lanes[32];
  for (int k = 0; k < 4; ++k) _mm256_store_si256(reinterpret_cast<__m256i*>(lanes + 8 * k), most[k]);
  uint32_t largest = 0;
  for (uint32_t lane : lanes) largest = lane > largest ? lane : largest;
  for (; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, w + i, sizeof bits);
    bits &= 0x7fffffffu;
    largest = bits > largest ? bits : largest;
  }
  return largest;
}

void FuseProducts__avx2(const double* c, size_t rows, size_t taps, const float* w, size_t pitch, size_t columns, double* out) {
  for (size_t t = 0; t < taps; ++t) {
    double* sums = out + t * kFuseColumns;
    size_t j = 0;
    if (columns == kFuseColumns) {
      __m256d sum[8];
      for (int k = 0; k < 8; ++k) sum[k] = _mm256_setzero_pd();
      for (size_t m = 0; m < rows; ++m) {
        const __m256d factor = _mm256_broadcast_sd(c + m * kFuseTaps + t);
        for (int k = 0; k < 8; ++k) sum[k] = _mm256_add_pd(sum[k], _mm256_mul_pd(factor, _mm256_cvtps_pd(_mm_loadu_ps(w + m * pitch + 4 * k))));
      }
      for (int k = 0; k < 8; ++k) _mm256_storeu_pd(sums + 4 * k, sum[k]);
      continue;
    }
    for (; j + 4 <= columns; j += 4) {
      __m256d sum = _mm256_setzero_pd();
      for (size_t m = 0; m < rows; ++m) {
        sum = _mm256_add_pd(sum, _mm256_mul_pd(_mm256_broadcast_sd(c + m * kFuseTaps + t), _mm256_cvtps_pd(_mm_loadu_ps(w + m * pitch + j))));
      }
      _mm256_storeu_pd(sums + j, sum);
    }
    for (; j < columns; ++j) {
      double sum = 0;
      for (size_t m = 0; m < rows; ++m) sum += c[m * kFuseTaps + t] * static_cast<double>(w[m * pitch + j]);
      sums[j] = sum;
    }
  }
}

}  // namespace repfuse

#pragma GCC pop_options
#endif
