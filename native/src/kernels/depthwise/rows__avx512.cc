// 16 outputs of four rows a step, which share the weights: 4 accumulators stay in registers over all taps. Lanes in the padding are
// loaded as zero. Called by the depthwise driver through the kernel table.
#include "rows.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")

#include "../conv/lanes__avx512.h"

namespace repfuse {
namespace {

constexpr int kRows = 4;

template <int kStride, int kCount>
inline void Rows(const DepthwiseRows& t, int64_t oy) {
  const LaneRange* inside = t.inside;
  const __m512 zero = _mm512_setzero_ps();
  for (int64_t ox = 0; ox < t.out_w; ox += kLanes, inside += t.kernel_w) {
    __m512 acc[kCount];
#pragma GCC unroll 4
    for (int r = 0; r < kCount; ++r) acc[r] = _mm512_set1_ps(t.bias);
    const float* w = t.weight;
    const float* row = t.x + oy * t.stride_row + ox * t.stride;
    for (int64_t u = 0; u < t.kernel_h; ++u, row += t.tap_row) {
      const float* from = row;
      for (int64_t v = 0; v < t.kernel_w; ++v, from += t.tap_column) {
        const __m512 weight = _mm512_set1_ps(*w++);
        const LaneRange lanes = inside[v];
#pragma GCC unroll 4
        for (int r = 0; r < kCount; ++r)
          acc[r] = _mm512_fmadd_ps(weight, LoadLanes<kStride>(from + r * t.stride_row, lanes, t.stride, zero), acc[r]);
      }
    }
    const int count = t.out_w - ox < kLanes ? static_cast<int>(t.out_w - ox) : kLanes;
#pragma GCC unroll 4
    for (int r = 0; r < kCount; ++r) {
      const __m512 value = t.relu ? _mm512_max_ps(zero, acc[r]) : acc[r];  // NaN is the second operand: kept
      float* y = t.y + (oy + r) * t.out_w + ox;
      _mm512_mask_storeu_ps(y, static_cast<__mmask16>(Bits(0, count)), value);
    }
  }
}

template <int kStride>
inline void Run(const DepthwiseRows& t) {
  int64_t oy = 0;
  for (; oy + kRows <= t.out_h; oy += kRows) Rows<kStride, kRows>(t, oy);
  for (; oy < t.out_h; ++oy) Rows<kStride, 1>(t, oy);
}

}  // namespace

void DepthwiseRows__avx512(const DepthwiseRows& t) {
  if (t.stride == 1) return Run<1>(t);
  if (t.stride == 2) return Run<2>(t);
  Run<0>(t);
}

}  // namespace repfuse

#pragma GCC pop_options
#endif
