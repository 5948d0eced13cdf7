// One tap of a depthwise filter, 16 outputs a step at stride 1 with a masked tail; other strides one by one.
#include "rows.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")

namespace repfuse {

void TapRow__avx512(float* y, const float* x, float w, size_t n, size_t stride) {
  if (stride != 1) {
    for (size_t i = 0; i < n; ++i) y[i] = __builtin_fmaf(w, x[i * stride], y[i]);
    return;
  }
  const __m512 tap = _mm512_set1_ps(w);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) _mm512_storeu_ps(y + i, _mm512_fmadd_ps(tap, _mm512_loadu_ps(x + i), _mm512_loadu_ps(y + i)));
  if (i < n) {
    const __mmask16 tail = static_cast<__mmask16>((1u << (n - i)) - 1u);
    const __m512 sum = _mm512_fmadd_ps(tap, _mm512_maskz_loadu_ps(tail, x + i), _mm512_maskz_loadu_ps(tail, y + i));
    _mm512_mask_storeu_ps(y + i, tail, sum);
  }
}

}  // namespace repfuse

#pragma GCC pop_options
#endif
