// Inner loops of fusing, 4 doubles a vector, two vectors a step; tails one by one. Products: 8 vectors of columns by one tap in
// registers. Multiply and add stay separate: a contracted FMA would round once where the other levels round twice.
#include "rows.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

#include "repfuse/kernels.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")

namespace repfuse {

static const size_t kAhead = 8192;  // bytes that a pass prefetches: hardware prefetchers stop at the end of a page

static uint32_t Magnitude(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits & 0x7fffffffu;
}

void FuseScale__avx2(double* acc, const float* w, double scale, size_t n) {
  const __m256d s = _mm256_set1_pd(scale);
  size_t i = 0;
  for (; i + 4 <= n; i += 4) _mm256_storeu_pd(acc + i, _mm256_mul_pd(s, _mm256_cvtps_pd(_mm_loadu_ps(w + i))));
  for (; i < n; ++i) acc[i] = scale * static_cast<double>(w[i]);
}

void FuseAccumulate__avx2(double* acc, const float* w, double scale, size_t n) {
  const __m256d s = _mm256_set1_pd(scale);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256d lo = _mm256_cvtps_pd(_mm_loadu_ps(w + i)), hi = _mm256_cvtps_pd(_mm_loadu_ps(w + i + 4));
    _mm256_storeu_pd(acc + i, _mm256_add_pd(_mm256_loadu_pd(acc + i), _mm256_mul_pd(s, lo)));
    _mm256_storeu_pd(acc + i + 4, _mm256_add_pd(_mm256_loadu_pd(acc + i + 4), _mm256_mul_pd(s, hi)));
  }
  for (; i < n; ++i) acc[i] += scale * static_cast<double>(w[i]);
}

// Eight rounded values to `out`. `finite` becomes NaN, and stays so, with the first that is infinite or NaN: x * 0 is NaN then,
// and a zero otherwise.
static void StoreRounded(float* out, __m256d low, __m256d high, __m256& finite) {
  const __m256 rounded = _mm256_set_m128(_mm256_cvtpd_ps(high), _mm256_cvtpd_ps(low));
  _mm256_storeu_ps(out, rounded);
  finite = _mm256_fmadd_ps(rounded, _mm256_setzero_ps(), finite);
}

static bool IsFinite(__m256 sums) { return _mm256_movemask_ps(_mm256_cmp_ps(sums, sums, _CMP_UNORD_Q)) == 0; }

bool FuseFinish__avx2(const double* acc, const float* w, double scale, float* out, size_t n) {
  const __m256d s = _mm256_set1_pd(scale), zero = _mm256_setzero_pd();
  __m256 sums = _mm256_setzero_ps();
  size_t i = 0;
  if (w == nullptr) {
    for (; i + 8 <= n; i += 8) StoreRounded(out + i, _mm256_loadu_pd(acc + i), _mm256_loadu_pd(acc + i + 4), sums);
  } else {
    for (; i + 8 <= n; i += 8) {
      const __m256d low = _mm256_mul_pd(s, _mm256_cvtps_pd(_mm_loadu_ps(w + i))),
                    high = _mm256_mul_pd(s, _mm256_cvtps_pd(_mm_loadu_ps(w + i + 4)));
      StoreRounded(out + i, _mm256_add_pd(acc == nullptr ? zero : _mm256_loadu_pd(acc + i), low),
                   _mm256_add_pd(acc == nullptr ? zero : _mm256_loadu_pd(acc + i + 4), high), sums);
    }
  }
  float tail = 0;
  for (; i < n; ++i) {
    const double sum = acc == nullptr ? 0.0 : acc[i];
    out[i] = static_cast<float>(w == nullptr ? sum : sum + scale * static_cast<double>(w[i]));
    tail += out[i] * 0.0f;
  }
  return IsFinite(sums) && tail == 0;
}

// Four values of the channels from `c` on for their patched taps.
static __m256d PatchAt(const double* acc, const float* tap_w, double tap_scale, size_t c) {
  if (acc != nullptr) return _mm256_loadu_pd(acc + c);
  return _mm256_add_pd(_mm256_setzero_pd(), _mm256_mul_pd(_mm256_set1_pd(tap_scale), _mm256_cvtps_pd(_mm_loadu_ps(tap_w + c))));
}

// scale * w + 0: rounded once, as the product is; the zero turns -0 into +0.
static __m256d Product(__m256d scale, const float* w) {
  return _mm256_fmadd_pd(scale, _mm256_cvtps_pd(_mm_loadu_ps(w)), _mm256_setzero_pd());
}

template <int kLane>
static __m256d AddLane(__m256d product, __m256d patch) {
  return _mm256_blend_pd(product, _mm256_add_pd(product, patch), 1 << kLane);
}

// Channels from `c` on one by one.
static bool PatchTail(const double* acc, const float* tap_w, double tap_scale, size_t taps, size_t tap, const float* w, double scale,
                      float* out, size_t c, size_t channels) {
  float sum = 0;
  for (; c < channels; ++c) {
    const double patch = acc == nullptr ? 0.0 + tap_scale * static_cast<double>(tap_w[c]) : acc[c];
    for (size_t t = 0; t < taps; ++t) {
      out[c * taps + t] = static_cast<float>((t == tap ? patch : 0.0) + scale * static_cast<double>(w[c * taps + t]));
      sum += out[c * taps + t] * 0.0f;
    }
  }
  return sum == 0;
}

// The centre of 3x3 kernels: eight channels are 18 vectors, of which eight have one patched lane each, that of its own channel.
static bool PatchCentre(const double* acc, const float* tap_w, double tap_scale, const float* w, double scale, float* out,
                        size_t channels) {
  const __m256d s = _mm256_set1_pd(scale);
  __m256 sums[3] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
  size_t c = 0;
  for (; c + 8 <= channels; c += 8) {
    const __m256d low = PatchAt(acc, tap_w, tap_scale, c), high = PatchAt(acc, tap_w, tap_scale, c + 4);
    const float* from = w + c * 9;
    float* to = out + c * 9;
    for (size_t line = 0; line < 8 * 9 * sizeof(float); line += 64)
      __builtin_prefetch(reinterpret_cast<const char*>(from) + kAhead + line, 1);
    StoreRounded(to, Product(s, from), AddLane<0>(Product(s, from + 4), low), sums[0]);
    StoreRounded(to + 8, Product(s, from + 8), AddLane<1>(Product(s, from + 12), low), sums[1]);
    StoreRounded(to + 16, Product(s, from + 16), AddLane<2>(Product(s, from + 20), low), sums[2]);
    StoreRounded(to + 24, Product(s, from + 24), AddLane<3>(Product(s, from + 28), low), sums[0]);
    StoreRounded(to + 32, Product(s, from + 32), Product(s, from + 36), sums[1]);
    StoreRounded(to + 40, AddLane<0>(Product(s, from + 40), high), Product(s, from + 44), sums[2]);
    StoreRounded(to + 48, AddLane<1>(Product(s, from + 48), high), Product(s, from + 52), sums[0]);
    StoreRounded(to + 56, AddLane<2>(Product(s, from + 56), high), Product(s, from + 60), sums[1]);
    StoreRounded(to + 64, AddLane<3>(Product(s, from + 64), high), Product(s, from + 68), sums[2]);
  }
  return IsFinite(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), sums[2])) &&
         PatchTail(acc, tap_w, tap_scale, 9, 4, w, scale, out, c, channels);
}

bool FusePatch__avx2(const double* acc, const float* tap_w, double tap_scale, size_t taps, size_t tap, const float* w, double scale,
                     float* out, size_t channels) {
  if (taps == 9 && tap == 4) return PatchCentre(acc, tap_w, tap_scale, w, scale, out, channels);
  // Eight channels are `taps` pairs of vectors. As `taps` is odd, the patched values of four channels stand in four different
  // lanes, the same for the next four: a permutation puts the patches there, and a mask a vector picks the sums.
  alignas(32) uint64_t mask[2 * kFusePatchTaps][4];
  for (size_t v = 0; v < 2 * taps; ++v) _mm256_store_si256(reinterpret_cast<__m256i*>(mask[v]), _mm256_setzero_si256());
  alignas(32) uint32_t order[8];
  for (uint32_t c = 0; c < 8; ++c) {
    const size_t at = c * taps + tap;
    mask[at / 4][at % 4] = ~uint64_t{0};
    if (c < 4) order[at % 4 * 2] = 2 * c, order[at % 4 * 2 + 1] = 2 * c + 1;
  }
  const __m256i lanes = _mm256_load_si256(reinterpret_cast<const __m256i*>(order));
  const __m256d s = _mm256_set1_pd(scale);
  __m256 sums = _mm256_setzero_ps();
  size_t c = 0;
  for (; c + 8 <= channels; c += 8) {
    const float* from = w + c * taps;
    float* to = out + c * taps;
    __m256d patch[2];
    for (size_t k = 0; k < 2; ++k) {
      patch[k] = _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(PatchAt(acc, tap_w, tap_scale, c + 4 * k)), lanes));
    }
    for (size_t v = 0; v < taps; ++v) {
      __m256d sum[2];
      for (size_t k = 0; k < 2; ++k) {
        const size_t at = 2 * v + k;
        const __m256d product = Product(s, from + 4 * at);
        sum[k] =
            _mm256_blendv_pd(product, _mm256_add_pd(product, patch[at / taps]), _mm256_load_pd(reinterpret_cast<const double*>(mask[at])));
      }
      StoreRounded(to + 8 * v, sum[0], sum[1], sums);
    }
  }
  return IsFinite(sums) && PatchTail(acc, tap_w, tap_scale, taps, tap, w, scale, out, c, channels);
}

uint32_t FuseScan__avx2(const float* w, size_t n) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  __m256i most[4];
  for (int k = 0; k < 4; ++k) most[k] = _mm256_setzero_si256();
  size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    for (int k = 0; k < 4; ++k) {
      const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + i + 8 * k));
      most[k] = _mm256_max_epu32(most[k], _mm256_and_si256(magnitude, bits));
    }
  }
  alignas(32) uint32_t lanes[32];
  for (int k = 0; k < 4; ++k) _mm256_store_si256(reinterpret_cast<__m256i*>(lanes + 8 * k), most[k]);
  uint32_t largest = 0;
  for (uint32_t lane : lanes) largest = lane > largest ? lane : largest;
  for (; i < n; ++i) largest = Magnitude(w[i]) > largest ? Magnitude(w[i]) : largest;
  return largest;
}

void FuseProducts__avx2(const double* c, size_t rows, size_t taps, const float* w, size_t pitch, size_t columns, double* out) {
  for (size_t t = 0; t < taps; ++t) {
    double* sums = out + t * kFuseColumns;
    size_t j = 0;
    if (columns == kFuseColumns) {
      __m256d sum[8];
      for (int k = 0; k < 8; ++k) sum[k] = _mm256_setzero_pd();
      for (size_t m = 0; m < rows; ++m) {
        const __m256d factor = _mm256_broadcast_sd(c + m * kFuseTaps + t);
        for (int k = 0; k < 8; ++k)
          sum[k] = _mm256_add_pd(sum[k], _mm256_mul_pd(factor, _mm256_cvtps_pd(_mm_loadu_ps(w + m * pitch + 4 * k))));
      }
      for (int k = 0; k < 8; ++k) _mm256_storeu_pd(sums + 4 * k, sum[k]);
      continue;
    }
    for (; j + 4 <= columns; j += 4) {
      __m256d sum = _mm256_setzero_pd();
      for (size_t m = 0; m < rows; ++m) {
        sum =
            _mm256_add_pd(sum, _mm256_mul_pd(_mm256_broadcast_sd(c + m * kFuseTaps + t), _mm256_cvtps_pd(_mm_loadu_ps(w + m * pitch + j))));
      }
      _mm256_storeu_pd(sums + j, sum);
    }
    for (; j < columns; ++j) {
      double sum = 0;
      for (size_t m = 0; m < rows; ++m) sum += c[m * kFuseTaps + t] * static_cast<double>(w[m * pitch + j]);
      sums[j] = sum;
    }
  }
}

}  // namespace repfuse

#pragma GCC pop_options
#endif
