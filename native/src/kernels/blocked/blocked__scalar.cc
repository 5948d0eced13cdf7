// One value at a time: the portable reference of the SIMD tiles. Kept scalar on purpose.
#pragma GCC optimize("no-tree-vectorize")
#include <cmath>

#include "blocked.h"

namespace repfuse {
namespace {

using Vector = float;
constexpr int kLanes = 1;
inline Vector Load(const float* x) { return *x; }
inline void Store(float* y, Vector v) { *y = v; }
inline Vector Splat(float v) { return v; }
inline Vector Fma(Vector a, Vector b, Vector c) { return a * b + c; }
inline Vector Fnma(Vector a, Vector b, Vector c) { return c - a * b; }
inline Vector Clamp(Vector low, Vector high, Vector v) { return v < low ? low : v > high ? high : v; }  // NaN is kept
inline Vector Round(Vector v) { return std::nearbyint(v); }
inline Vector PowerOfTwo(Vector v, Vector n) { return n == n ? std::ldexp(v, static_cast<int>(n)) : n; }  // v * 2^n

// Nothing to keep in registers.
inline void InRegister(Vector&) {}
constexpr int kDepthwiseRows = 1;

#include "activation.inc"
#include "conv_tile.inc"
#include "depthwise_tile.inc"
#include "finish_row.inc"
#include "winograd_tile.inc"

constexpr ConvRun kConvTiles[1][2] = {{RunConvPitch<1, 1>, RunConvPitch<1, 2>}};

}  // namespace

void RunConvTile__scalar(const ConvTile& tile, int, int pixels) { kConvTiles[0][pixels - 1](tile); }
void RunDepthwiseTile__scalar(const DepthwiseTile& tile, int pixels) { kDepthwiseTiles[pixels - 1](tile); }
void WinogradInput2__scalar(const WinogradInput& tile) { RunInput<2>(tile); }
void WinogradInput4__scalar(const WinogradInput& tile) { RunInput<4>(tile); }
void WinogradOutput2__scalar(const WinogradOutput& tile) { RunOutput<2>(tile); }
void WinogradOutput4__scalar(const WinogradOutput& tile) { RunOutput<4>(tile); }
void Finish__scalar(const FinishedRow& row) { FinishRow(row); }
void Sigmoid__scalar(const float* x, float* y, size_t n) { Map<SigmoidOf>(x, y, n); }
void Silu__scalar(const float* x, float* y, size_t n) { Map<SiluOf>(x, y, n); }
void Hardswish__scalar(const float* x, float* y, size_t n) { Map<HardswishOf>(x, y, n); }

}  // namespace repfuse
