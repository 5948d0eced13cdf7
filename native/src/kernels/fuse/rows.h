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

// FuseFinish and FusePatch with RoundToOdd (kernels/half/half.h) in place of the nearest; at every level.
bool FuseFinishToOdd(const double* acc, const float* w, double scale, float* out, size_t n);
bool FusePatchToOdd(const double* acc, const float* tap_w, double tap_scale, size_t taps, size_t tap, const float* w, double scale,
                    float* out, size_t channels);

}  // namespace repfuse
