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

}  // namespace

constinit const KernelTable kScalarKernels = {
    .isa = Isa::kScalar,
    .gemm = {.name = "gemm-f32-4x4__scalar",
             .rows = kGemmRows,
             .columns = kGemmVectors * kLanes,
             .lanes = kLanes,
             .k_block = 256,
             .run = RunGemm<kGemmVectors>},
    .dot = Dot,
    .pack_panel = PackPanel,
    .depthwise_rows = RunDepthwiseRows,
    .blocked = {.name = "blocked-f32-1x2__scalar",
                .max_blocks = 1,
                .max_pixels = {2},
                .conv = RunConvTile,
                .depthwise = RunDepthwiseTile,
                .depthwise_rows = kDepthwiseRows,
                .winograd2 = {RunInput<2>, RunOutput<2>},
                .winograd4 = {RunInput<4>, RunOutput<4>},
                .finish = FinishRow,
                .sigmoid = Map<SigmoidOf>,
                .silu = Map<SiluOf>,
                .hardswish = Map<HardswishOf>},
    .terms = {SplitRowScalar, SplitPlanesScalar},
    .products = {},
    .fma_probe = ProbeFma,
    .fuse_scale = FuseScale,
    .fuse_accumulate = FuseAccumulate,
    .fuse_finish = FuseFinish,
    .fuse_patch = FusePatch,
    .fuse_scan = FuseScan,
    .fuse_products = FuseProducts,
    .relu = Map<ReluOf>,
    .add = AddSpans,
};

}  // namespace repfuse
