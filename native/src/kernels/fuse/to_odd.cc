// The end of a row rounded to odd, on every level.
#include "../half/half.h"
#include "rows.h"

namespace repfuse {
namespace {

#include "rest_of_row.inc"

}  // namespace

bool FuseFinishToOdd(const double* acc, const float* w, double scale, float* out, size_t n) {
  return FinishRest<RoundToOdd>(acc, w, scale, out, 0, n);
}

bool FusePatchToOdd(const double* acc, const float* tap_w, double tap_scale, size_t taps, size_t tap, const float* w, double scale,
                    float* out, size_t channels) {
  return PatchRest<RoundToOdd>(acc, tap_w, tap_scale, taps, tap, w, scale, out, 0, channels);
}

}  // namespace repfuse
