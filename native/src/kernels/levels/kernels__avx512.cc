// AVX-512: 16 lanes, 32 registers.
#include "tiles.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "../../simd/target.h"

REPFUSE_TARGET_BEGIN(REPFUSE_AVX512)

namespace repfuse {
namespace {

#include "../../simd/avx512.inc"

// 8 x 48: 24 accumulators, 3 vectors of B, one broadcast of A.
constexpr int kGemmRows = 8, kGemmVectors = 3;
constexpr int kDepthwiseRows = 2;
constexpr size_t kProductTaps = 3;

#include "span_texts.inc"
#include "tile_texts.inc"

// 14 pixels x 2 blocks: 28 accumulators, 2 vectors of weights, one broadcast; 9 x 3 and 7 x 4 where a map is narrow, 14 x 1 for what
// remains.
#include "../blocked/conv_tiles_512.inc"

// As `taps` is odd, the eight patched values stand in eight different lanes: one permutation puts the patches there, and a mask for each
// vector adds those that fall into it.
struct PatchLanes {
  __m512i order;
  __mmask8 masks[kFusePatchTaps] = {};

  PatchLanes(size_t taps, size_t tap) {
    alignas(64) int64_t from[8];
    for (size_t c = 0; c < 8; ++c) {
      const size_t at = c * taps + tap;
      masks[at / 8] = static_cast<__mmask8>(masks[at / 8] | 1u << at % 8);
      from[at % 8] = static_cast<int64_t>(c);
    }
    order = _mm512_load_si512(from);
  }
  Doubles Arrange(Doubles patch) const { return _mm512_permutexvar_pd(order, patch); }
  Doubles Add(size_t v, Doubles product, Doubles patch) const { return _mm512_mask_add_pd(product, masks[v], product, patch); }
};
#include "../fuse/patch.inc"

constexpr Isa kLevel = Isa::kAvx512;
constexpr char kGemmName[] = "gemm-f32-8x48__avx512", kBlockedName[] = "blocked-f32-2x14__avx512";
constexpr int kMaxBlocks = 4, kMaxPixels[4] = {14, 14, 9, 7};
constexpr TermKernels kTermKernels = {SplitRowAvx512, SplitPlanesAvx512};
#include "table.inc"

}  // namespace

constinit const KernelTable kAvx512Kernels = kTable;

}  // namespace repfuse

REPFUSE_TARGET_END
#endif
