// Twelve chains of vector multiply-adds: enough to hide the latency of two units.
#include "fma.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")

namespace repfuse {

double FmaProbe__avx2(int64_t rounds, float* sink) {
  constexpr int kChains = 12, kLanes = 8;
  __m256 acc[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) acc[i] = _mm256_set1_ps(static_cast<float>(i));
  __m256 factor = _mm256_set1_ps(0.9999f), term = _mm256_set1_ps(1e-6f);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) acc[i] = _mm256_fmadd_ps(acc[i], factor, term);
    __asm__ volatile("" : "+v"(factor), "+v"(term));
  }
  __m256 sum = acc[0];
#pragma GCC unroll 12
  for (int i = 1; i < kChains; ++i) sum = _mm256_add_ps(sum, acc[i]);
  alignas(64) float lanes[kLanes];
  _mm256_store_ps(lanes, sum);
  *sink = lanes[0];
  return 2.0 * kChains * kLanes * static_cast<double>(rounds);
}

}  // namespace repfuse

#pragma GCC pop_options
#endif
