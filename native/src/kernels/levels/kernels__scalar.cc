// The portable level: one value at a time, the reference of the others.
#include <cmath>

#include "tiles.h"

namespace repfuse {
namespace {

#include "../../simd/scalar.inc"

constexpr int kGemmRows = 4, kGemmVectors = 4;
constexpr int kDepthwiseRows = 1;
constexpr size_t kProductTaps = 1;

#include "span_texts.inc"

// Scalar on purpose: the compiler would turn the inner loops into vector code whose speed depends on its version.
#pragma GCC push_options
#pragma GCC optimize("no-tree-vectorize")
#include "tile_texts.inc"
#pragma GCC pop_options

constexpr ConvRun kConvTiles[2] = {RunConvPitch<1, 1>, RunConvPitch<1, 2>};
void RunConvTile(const ConvTile& tile, int, int pixels) { kConvTiles[pixels - 1](tile); }

bool FusePatch(const double* acc, const float* tap_w, double tap_scale, size_t taps, size_t tap, const float* w, double scale, float* out,
               size_t channels) {
  return PatchRest<Nearest>(acc, tap_w, tap_scale, taps, tap, w, scale, out, 0, channels);
}

constexpr Isa kLevel = Isa::kScalar;
constexpr char kGemmName[] = "gemm-f32-4x4__scalar", kBlockedName[] = "blocked-f32-1x2__scalar";
constexpr int kMaxBlocks = 1, kMaxPixels[4] = {2};
constexpr TermKernels kTermKernels = {SplitRowScalar, SplitPlanesScalar};
#include "table.inc"

}  // namespace

constinit const KernelTable kScalarKernels = kTable;

}  // namespace repfuse
