// The convolution's tile over pairs of bf16 inputs (vdpbf16ps): what is one float32 input elsewhere is a pair here.
#include "tiles.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "../../simd/target.h"

REPFUSE_TARGET_BEGIN("avx512bf16," REPFUSE_AVX512)

namespace repfuse {
namespace {

#include "../../simd/avx512.inc"

inline Vector AddInput(Vector sum, Vector input, Vector weight) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(input), reinterpret_cast<__m512bh>(weight));
}
#include "../blocked/conv_tile.inc"
#include "../blocked/conv_tiles_512.inc"

}  // namespace

constinit const ProductKernels kAvx512Bf16Products = {
    .terms = 1, .tiles = {}, .pairs_name = "pairs-bf16-2x14__avx512bf16", .pairs = RunConvTile};

}  // namespace repfuse

REPFUSE_TARGET_END
#endif
