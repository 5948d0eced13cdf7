// Inner loops of fusing, 4 doubles a vector, two vectors a step; tails one by one. Multiply and add stay separate: a contracted
// FMA would round once where the other levels round twice.
#include "rows.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

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
  for (; i + 4 <= n; i += 4) _mm_storeu_ps(out + i, _mm256_cvtpd_ps(_mm256_loadu_pd(acc + i)));
  for (; i < n; ++i) out[i] = static_cast<float>(acc[i]);
}

uint32_t FuseScan__avx2(const float* w, size_t n) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  __m256i a = _mm256_setzero_si256(), b = a;
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    a = _mm256_max_epu32(a, _mm256_and_si256(magnitude, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + i))));
    b = _mm256_max_epu32(b, _mm256_and_si256(magnitude, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + i + 8))));
  }
  alignas(32) uint32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), _mm256_max_epu32(a, b));
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

}  // namespace repfuse

#pragma GCC pop_options
#endif
