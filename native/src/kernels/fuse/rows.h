// The inner loops of fusing. Every operation is an exact element-wise float64 one in a fixed order, so every ISA gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace repfuse {

// FuseScale:      acc[i] = scale * w[i].
// FuseAccumulate: acc[i] += scale * w[i].
// FuseFinish:     out[i] = (float)(acc[i] + scale * w[i]); w may be out. Without acc (null) 0 stands for it, which turns -0 into +0;
//                 without w out[i] = (float)acc[i]. Returns whether all of `out` is finite: a NaN or an infinity that went in comes out.
// FusePatch:      the same over channels of `taps` values each, where one value a channel is added to its tap `tap`: acc[c], or without
//                 acc (null) 0 + tap_scale * tap_w[c]; odd taps <= kFusePatchTaps.
// FuseScan:       the largest bit pattern of |w[i]|; infinities and NaN are above all numbers.
// FuseProducts:   out[t][j] = sum over m of c[m][t] * w[m * pitch + j], m ascending, for t < taps <= kFuseTaps and
//                 j < columns <= kFuseColumns; c and out have rows of kFuseTaps and kFuseColumns.
#define REPFUSE_DECLARE_FUSE(isa)                                                                                                       \
  void FuseScale__##isa(double* acc, const float* w, double scale, size_t n);                                                           \
  void FuseAccumulate__##isa(double* acc, const float* w, double scale, size_t n);                                                      \
  bool FuseFinish__##isa(const double* acc, const float* w, double scale, float* out, size_t n);                                        \
  bool FusePatch__##isa(const double* acc, const float* tap_w, double tap_scale, size_t taps, size_t tap, const float* w, double scale, \
                        float* out, size_t channels);                                                                                   \
  uint32_t FuseScan__##isa(const float* w, size_t n);                                                                                   \
  void FuseProducts__##isa(const double* c, size_t rows, size_t taps, const float* w, size_t pitch, size_t columns, double* out);

REPFUSE_DECLARE_FUSE(scalar)
// FuseFinish and FusePatch with RoundToOdd (kernels/half/half.h) in place of the nearest; at every level.
bool FuseFinishToOdd(const double* acc, const float* w, double scale, float* out, size_t n);
bool FusePatchToOdd(const double* acc, const float* tap_w, double tap_scale, size_t taps, size_t tap, const float* w, double scale,
                    float* out, size_t channels);
#if defined(__x86_64__)
REPFUSE_DECLARE_FUSE(avx2)
REPFUSE_DECLARE_FUSE(avx512)
#endif

#undef REPFUSE_DECLARE_FUSE

}  // namespace repfuse
