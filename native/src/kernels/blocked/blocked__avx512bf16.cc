// The convolution's tile over pairs of bf16 inputs (vdpbf16ps): what is one float32 input elsewhere is a pair here.
#include "blocked.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx512bf16,avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")
#pragma GCC diagnostic ignored "-Wuninitialized"  // g++ 12 reports its own headers

namespace repfuse {
namespace {

using Vector = __m512;
constexpr int kLanes = 16;
inline Vector Load(const float* x) { return _mm512_loadu_ps(x); }
inline void Store(float* y, Vector v) { _mm512_storeu_ps(y, v); }
inline Vector Splat(float v) { return _mm512_set1_ps(v); }
inline Vector Fma(Vector a, Vector b, Vector c) {
  return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}
// NaN is the second operand: kept.
inline Vector Clamp(Vector low, Vector high, Vector v) { return _mm512_min_ps(high, _mm512_max_ps(low, v)); }

#include "conv_tile.inc"

#include "conv_tiles_512.inc"

}  // namespace

void RunPairTile__avx512bf16(const ConvTile& tile, int blocks, int pixels) { kConvTiles[blocks - 1][pixels - 1](tile); }

}  // namespace repfuse

#pragma GCC pop_options
#endif
