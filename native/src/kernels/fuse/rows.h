// The inner loops of fusing. Every operation is an exact element-wise float64 one in a fixed order, so every ISA gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace repfuse {

// FuseScale:      acc[i] = 0 + scale * w[i]; the zero turns -0 into +0, as adding to a cleared accumulator would.
// FuseAccumulate: acc[i] += scale * w[i].
// FuseRound:      out[i] = (float)acc[i].
// FuseScan:       the largest bit pattern of |w[i]|; infinities and NaN are above all numbers.
// FuseProducts:   out[t][j] = sum over m of c[m][t] * w[m * pitch + j], m ascending, for t < taps <= kFuseTaps and
//                 j < columns <= kFuseColumns; c and out have rows of kFuseTaps and kFuseColumns.
#define REPFUSE_DECLARE_FUSE(isa)                                                                     \
  void FuseScale__##isa(double* acc, const float* w, double scale, size_t n);                         \
  void FuseAccumulate__##isa(double* acc, const float* w, double scale, size_t n);                    \
  void FuseRound__##isa(const double* acc, float* out, size_t n);                                     \
  uint32_t FuseScan__##isa(const float* w, size_t n);                                                 \
  void FuseProducts__##isa(const double* c, size_t rows, size_t taps, const float* w, size_t pitch,   \
                           size_t columns, double* out);

REPFUSE_DECLARE_FUSE(scalar)
#if defined(__x86_64__)
REPFUSE_DECLARE_FUSE(avx2)
REPFUSE_DECLARE_FUSE(avx512)
#endif

#undef REPFUSE_DECLARE_FUSE

}  // namespace repfuse
