// 16 lanes. The convolution's tile is 14 pixels x 2 blocks: 28 accumulators, 2 vectors of weights, one broadcast; 9 x 3 and 7 x 4 where a
// map is narrow, 14 x 1 for what remains.
#include "blocked.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")
#pragma GCC diagnostic ignored "-Wuninitialized"  // g++ 12 reports its own headers

namespace repfuse {
namespace {

using Vector = __m512;
constexpr int kLanes = 16;
inline Vector Load(const float* x) { return _mm512_loadu_ps(x); }
inline void Store(float* y, Vector v) { _mm512_storeu_ps(y, v); }
inline Vector Splat(float v) { return _mm512_set1_ps(v); }
inline Vector Fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
inline Vector Fnma(Vector a, Vector b, Vector c) { return _mm512_fnmadd_ps(a, b, c); }
// NaN is the second operand: kept.
inline Vector Clamp(Vector low, Vector high, Vector v) { return _mm512_min_ps(high, _mm512_max_ps(low, v)); }
inline Vector Round(Vector v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Vector PowerOfTwo(Vector v, Vector n) { return _mm512_scalef_ps(v, n); }  // v * 2^n

// Keeps the compiler from loading it anew for every use.
inline void InRegister(Vector& v) { asm("" : "+v"(v)); }
constexpr int kDepthwiseRows = 2;

#include "activation.inc"
#include "conv_tile.inc"
#include "depthwise_tile.inc"
#include "finish_row.inc"
#include "winograd_tile.inc"

#include "conv_tiles_512.inc"

}  // namespace

void RunConvTile__avx512(const ConvTile& tile, int blocks, int pixels) { kConvTiles[blocks - 1][pixels - 1](tile); }
void RunDepthwiseTile__avx512(const DepthwiseTile& tile, int pixels) { kDepthwiseTiles[pixels - 1](tile); }
void WinogradInput2__avx512(const WinogradInput& tile) { RunInput<2>(tile); }
void WinogradInput4__avx512(const WinogradInput& tile) { RunInput<4>(tile); }
void WinogradOutput2__avx512(const WinogradOutput& tile) { RunOutput<2>(tile); }
void WinogradOutput4__avx512(const WinogradOutput& tile) { RunOutput<4>(tile); }
void Finish__avx512(const FinishedRow& row) { FinishRow(row); }
void Sigmoid__avx512(const float* x, float* y, size_t n) { Map<SigmoidOf>(x, y, n); }
void Silu__avx512(const float* x, float* y, size_t n) { Map<SiluOf>(x, y, n); }
void Hardswish__avx512(const float* x, float* y, size_t n) { Map<HardswishOf>(x, y, n); }

}  // namespace repfuse

#pragma GCC pop_options
#endif
