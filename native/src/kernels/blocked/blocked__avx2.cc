// 8 lanes. The convolution's tile is 6 pixels x 1 block of two vectors: 12 accumulators, 2 vectors of weights, one broadcast.
#include "blocked.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")

namespace repfuse {
namespace {

using Vector = __m256;
constexpr int kLanes = 8;
inline Vector Load(const float* x) { return _mm256_loadu_ps(x); }
inline void Store(float* y, Vector v) { _mm256_storeu_ps(y, v); }
inline Vector Splat(float v) { return _mm256_set1_ps(v); }
inline Vector Fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
inline Vector Fnma(Vector a, Vector b, Vector c) { return _mm256_fnmadd_ps(a, b, c); }
// NaN is the second operand: kept.
inline Vector Clamp(Vector low, Vector high, Vector v) { return _mm256_min_ps(high, _mm256_max_ps(low, v)); }
inline Vector Round(Vector v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// v * 2^n, |n| up to 252: a factor of its own for either half.
inline Vector PowerOfTwo(Vector v, Vector n) {
  const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1), bias = _mm256_set1_epi32(127);
  const Vector first = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
  return v * first * _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23));
}

// Keeps the compiler from loading it anew for every use.
inline void InRegister(Vector& v) { asm("" : "+x"(v)); }
constexpr int kDepthwiseRows = 1;

#include "activation.inc"
#include "conv_tile.inc"
#include "depthwise_tile.inc"
#include "finish_row.inc"
#include "winograd_tile.inc"

constexpr ConvRun kConvTiles[1][6] = {
    {RunConvPitch<1, 1>, RunConvPitch<1, 2>, RunConvPitch<1, 3>, RunConvPitch<1, 4>, RunConvPitch<1, 5>, RunConvPitch<1, 6>}};

}  // namespace

void RunConvTile__avx2(const ConvTile& tile, int, int pixels) { kConvTiles[0][pixels - 1](tile); }
void RunDepthwiseTile__avx2(const DepthwiseTile& tile, int pixels) { kDepthwiseTiles[pixels - 1](tile); }
void WinogradInput2__avx2(const WinogradInput& tile) { RunInput<2>(tile); }
void WinogradInput4__avx2(const WinogradInput& tile) { RunInput<4>(tile); }
void WinogradOutput2__avx2(const WinogradOutput& tile) { RunOutput<2>(tile); }
void WinogradOutput4__avx2(const WinogradOutput& tile) { RunOutput<4>(tile); }
void Finish__avx2(const FinishedRow& row) { FinishRow(row); }
void Sigmoid__avx2(const float* x, float* y, size_t n) { Map<SigmoidOf>(x, y, n); }
void Silu__avx2(const float* x, float* y, size_t n) { Map<SiluOf>(x, y, n); }
void Hardswish__avx2(const float* x, float* y, size_t n) { Map<HardswishOf>(x, y, n); }

}  // namespace repfuse

#pragma GCC pop_options
#endif
