// AVX2: 8 lanes, 16 registers.
#include "tiles.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "../../simd/target.h"

REPFUSE_TARGET_BEGIN(REPFUSE_AVX2)

namespace repfuse {
namespace {

#include "../../simd/avx2.inc"

// 6 x 16: 12 accumulators, 2 vectors of B, one broadcast of A.
constexpr int kGemmRows = 6, kGemmVectors = 2;
constexpr int kDepthwiseRows = 1;
constexpr size_t kProductTaps = 1;

#include "span_texts.inc"
#include "tile_texts.inc"

// 6 pixels x 1 block of two vectors: 12 accumulators, 2 vectors of weights, one broadcast.
constexpr ConvRun kConvTiles[6] = {RunConvPitch<1, 1>, RunConvPitch<1, 2>, RunConvPitch<1, 3>,
                                   RunConvPitch<1, 4>, RunConvPitch<1, 5>, RunConvPitch<1, 6>};
void RunConvTile(const ConvTile& tile, int, int pixels) { kConvTiles[pixels - 1](tile); }

// As `taps` is odd, the patched values of four channels stand in four different lanes of a register, the same for the next four: a
// permutation puts the patches there, and a mask for each register picks the sums.
struct PatchLanes {
  size_t taps;
  __m256i order;
  alignas(32) uint64_t masks[2 * kFusePatchTaps][4];

  PatchLanes(size_t taps, size_t tap) : taps(taps) {
    for (size_t v = 0; v < 2 * taps; ++v) _mm256_store_si256(reinterpret_cast<__m256i*>(masks[v]), _mm256_setzero_si256());
    alignas(32) uint32_t halves[8];
    for (uint32_t c = 0; c < 8; ++c) {
      const size_t at = c * taps + tap;
      masks[at / 4][at % 4] = ~uint64_t{0};
      if (c < 4) halves[at % 4 * 2] = 2 * c, halves[at % 4 * 2 + 1] = 2 * c + 1;
    }
    order = _mm256_load_si256(reinterpret_cast<const __m256i*>(halves));
  }
  __m256d Permuted(__m256d v) const { return _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(v), order)); }
  Doubles Arrange(Doubles patch) const { return {Permuted(patch.low), Permuted(patch.high)}; }
  __m256d AddTo(size_t at, __m256d product, Doubles patch) const {
    const __m256d sum = product + (at < taps ? patch.low : patch.high);
    return _mm256_blendv_pd(product, sum, _mm256_load_pd(reinterpret_cast<const double*>(masks[at])));
  }
  Doubles Add(size_t v, Doubles product, Doubles patch) const {
    return {AddTo(2 * v, product.low, patch), AddTo(2 * v + 1, product.high, patch)};
  }
};
#include "../fuse/patch.inc"

constexpr Isa kLevel = Isa::kAvx2;
constexpr char kGemmName[] = "gemm-f32-6x16__avx2", kBlockedName[] = "blocked-f32-1x6__avx2";
constexpr int kMaxBlocks = 1, kMaxPixels[4] = {6};
constexpr TermKernels kTermKernels = {SplitRowScalar, SplitPlanesScalar};
#include "table.inc"

}  // namespace

constinit const KernelTable kAvx2Kernels = kTable;

}  // namespace repfuse

REPFUSE_TARGET_END
#endif
