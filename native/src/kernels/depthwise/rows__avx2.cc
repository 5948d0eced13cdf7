// One tap of a depthwise filter, 8 outputs a step at stride 1; other strides and tails one by one.
#include "rows.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")

namespace repfuse {

void TapRow__avx2(float* y, const float* x, float w, size_t n, size_t stride) {
  size_t i = 0;
  if (stride == 1) {
    const __m256 tap = _mm256_set1_ps(w);
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, _mm256_fmadd_ps(tap, _mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
  }
  for (; i < n; ++i) y[i] = __builtin_fmaf(w, x[i * stride], y[i]);
}

}  // namespace repfuse

#pragma GCC pop_options
#endif
