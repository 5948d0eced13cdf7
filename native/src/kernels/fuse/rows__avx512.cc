// Inner loops of fusing, 8 doubles a vector, two vectors a step; tails one by one. Multiply and add stay separate, as in the
// other levels.
#include "rows.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")

namespace repfuse {

void FuseScale__avx512(double* acc, const float* w, double scale, size_t n) {
  const __m512d s = _mm512_set1_pd(scale), zero = _mm512_setzero_pd();
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m512d lo = _mm512_cvtps_pd(_mm256_loadu_ps(w + i)), hi = _mm512_cvtps_pd(_mm256_loadu_ps(w + i + 8));
    _mm512_storeu_pd(acc + i, _mm512_add_pd(zero, _mm512_mul_pd(s, lo)));
    _mm512_storeu_pd(acc + i + 8, _mm512_add_pd(zero, _mm512_mul_pd(s, hi)));
  }
  for (; i < n; ++i) acc[i] = 0.0 + scale * static_cast<double>(w[i]);
}

void FuseAccumulate__avx512(double* acc, const float* w, double scale, size_t n) {
  const __m512d s = _mm512_set1_pd(scale);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m512d lo = _mm512_cvtps_pd(_mm256_loadu_ps(w + i)), hi = _mm512_cvtps_pd(_mm256_loadu_ps(w + i + 8));
    _mm512_storeu_pd(acc + i, _mm512_add_pd(_mm512_loadu_pd(acc + i), _mm512_mul_pd(s, lo)));
    _mm512_storeu_pd(acc + i + 8, _mm512_add_pd(_mm512_loadu_pd(acc + i + 8), _mm512_mul_pd(s, hi)));
  }
  for (; i < n; ++i) acc[i] += scale * static_cast<double>(w[i]);
}

void FuseRound__avx512(const double* acc, float* out, size_t n) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(out + i, _mm512_cvtpd_ps(_mm512_loadu_pd(acc + i)));
  for (; i < n; ++i) out[i] = static_cast<float>(acc[i]);
}

uint32_t FuseScan__avx512(const float* w, size_t n) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512i a = _mm512_setzero_si512(), b = a;
  size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    a = _mm512_max_epu32(a, _mm512_and_si512(magnitude, _mm512_loadu_si512(w + i)));
    b = _mm512_max_epu32(b, _mm512_and_si512(magnitude, _mm512_loadu_si512(w + i + 16)));
  }
  uint32_t largest = _mm512_reduce_max_epu32(_mm512_max_epu32(a, b));
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
