// Element-wise operators, 16 floats a step; the tail is masked.
#include "elementwise.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")

namespace repfuse {

void Relu__avx512(const float* x, float* y, size_t n) {
  const __m512 zero = _mm512_setzero_ps();
  size_t i = 0;
  // max(0, x) with x second: the instruction returns its second operand for NaN.
  for (; i + 16 <= n; i += 16) _mm512_storeu_ps(y + i, _mm512_max_ps(zero, _mm512_loadu_ps(x + i)));
  if (i < n) {
    const __mmask16 tail = static_cast<__mmask16>((1u << (n - i)) - 1u);
    _mm512_mask_storeu_ps(y + i, tail, _mm512_max_ps(zero, _mm512_maskz_loadu_ps(tail, x + i)));
  }
}

void Add__avx512(const float* a, const float* b, float* y, size_t n) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) _mm512_storeu_ps(y + i, _mm512_add_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i)));
  if (i < n) {
    const __mmask16 tail = static_cast<__mmask16>((1u << (n - i)) - 1u);
    _mm512_mask_storeu_ps(y + i, tail, _mm512_add_ps(_mm512_maskz_loadu_ps(tail, a + i), _mm512_maskz_loadu_ps(tail, b + i)));
  }
}

}  // namespace repfuse

#pragma GCC pop_options
#endif
