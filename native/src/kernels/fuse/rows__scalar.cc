// Inner loops of fusing, one value at a time.
#include <algorithm>
#include <cstring>

#include "../half/half.h"
#include "repfuse/kernels.h"
#include "rows.h"

namespace repfuse {
namespace {

uint32_t Magnitude(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits & 0x7fffffffu;
}

// x * 0 is a zero for every number, and NaN for an infinity or NaN.
bool AllFinite(const float* values, size_t n) {
  float sum = 0;
  for (size_t i = 0; i < n; ++i) sum += values[i] * 0.0f;
  return sum == 0;
}

float Nearest(double value) { return static_cast<float>(value); }

template <float round(double)>
bool Finish(const double* acc, const float* w, double scale, float* out, size_t n) {
  if (acc == nullptr) {
    for (size_t i = 0; i < n; ++i) out[i] = round(0.0 + scale * static_cast<double>(w[i]));
  } else if (w == nullptr) {
    for (size_t i = 0; i < n; ++i) out[i] = round(acc[i]);
  } else {
    for (size_t i = 0; i < n; ++i) out[i] = round(acc[i] + scale * static_cast<double>(w[i]));
  }
  return AllFinite(out, n);
}

template <float round(double)>
bool Patch(const double* acc, const float* tap_w, double tap_scale, size_t taps, size_t tap, const float* w, double scale, float* out,
           size_t channels) {
  for (size_t c = 0; c < channels; ++c) {
    const double patch = acc == nullptr ? 0.0 + tap_scale * static_cast<double>(tap_w[c]) : acc[c];
    for (size_t t = 0; t < taps; ++t) {
      out[c * taps + t] = round((t == tap ? patch : 0.0) + scale * static_cast<double>(w[c * taps + t]));
    }
  }
  return AllFinite(out, channels * taps);
}

}  // namespace

void FuseScale__scalar(double* acc, const float* w, double scale, size_t n) {
  for (size_t i = 0; i < n; ++i) acc[i] = scale * static_cast<double>(w[i]);
}

void FuseAccumulate__scalar(double* acc, const float* w, double scale, size_t n) {
  for (size_t i = 0; i < n; ++i) acc[i] += scale * static_cast<double>(w[i]);
}

uint32_t FuseScan__scalar(const float* w, size_t n) {
  uint32_t largest = 0;
  for (size_t i = 0; i < n; ++i) largest = std::max(largest, Magnitude(w[i]));
  return largest;
}

bool FuseFinish__scalar(const double* acc, const float* w, double scale, float* out, size_t n) {
  return Finish<Nearest>(acc, w, scale, out, n);
}

bool FuseFinishToOdd(const double* acc, const float* w, double scale, float* out, size_t n) {
  return Finish<RoundToOdd>(acc, w, scale, out, n);
}

bool FusePatch__scalar(const double* acc, const float* tap_w, double tap_scale, size_t taps, size_t tap, const float* w, double scale,
                       float* out, size_t channels) {
  return Patch<Nearest>(acc, tap_w, tap_scale, taps, tap, w, scale, out, channels);
}

bool FusePatchToOdd(const double* acc, const float* tap_w, double tap_scale, size_t taps, size_t tap, const float* w, double scale,
                    float* out, size_t channels) {
  return Patch<RoundToOdd>(acc, tap_w, tap_scale, taps, tap, w, scale, out, channels);
}

void FuseProducts__scalar(const double* c, size_t rows, size_t taps, const float* w, size_t pitch, size_t columns, double* out) {
  for (size_t t = 0; t < taps; ++t) {
    double* sum = out + t * kFuseColumns;
    std::fill_n(sum, columns, 0.0);
    for (size_t m = 0; m < rows; ++m) {
      for (size_t j = 0; j < columns; ++j) sum[j] += c[m * kFuseTaps + t] * static_cast<double>(w[m * pitch + j]);
    }
  }
}

}  // namespace repfuse
