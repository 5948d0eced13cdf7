// The inner loops of fusing. All are exact element-wise float64 operations, so every ISA gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace repfuse {

// acc[i] = 0 + scale * w[i]  (the zero turns -0 into +0, as adding to a cleared accumulator would).
// acc[i] += scale * w[i].
// out[i] = (float)acc[i].
// Largest bit pattern of |w[i]|: infinities and NaN are the largest of all.
#define REPFUSE_DECLARE_FUSE_ROWS(isa)                                              \
  void FuseScale__##isa(double* acc, const float* w, double scale, size_t n);       \
  void FuseAccumulate__##isa(double* acc, const float* w, double scale, size_t n);  \
  void FuseRound__##isa(const double* acc, float* out, size_t n);                   \
  uint32_t FuseScan__##isa(const float* w, size_t n);

REPFUSE_DECLARE_FUSE_ROWS(scalar)
#if defined(__x86_64__)
REPFUSE_DECLARE_FUSE_ROWS(avx2)
REPFUSE_DECLARE_FUSE_ROWS(avx512)
#endif

#undef REPFUSE_DECLARE_FUSE_ROWS

}  // namespace repfuse
