// Inner loops of fusing, 8 doubles a vector, two vectors a step; tails one by one. Products: 4 vectors of columns by 3 taps in
// registers, short columns masked. Multiply and add stay separate, as in the other levels.
#include "rows.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

#include "repfuse/kernels.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")

namespace repfuse {

static const size_t kAhead = 8192;  // bytes that a pass prefetches: hardware prefetchers stop at the end of a page

static uint32_t Magnitude(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits & 0x7fffffffu;
}

void FuseScale__avx512(double* acc, const float* w, double scale, size_t n) {
  const __m512d s = _mm512_set1_pd(scale);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) _mm512_storeu_pd(acc + i, _mm512_mul_pd(s, _mm512_cvtps_pd(_mm256_loadu_ps(w + i))));
  for (; i < n; ++i) acc[i] = scale * static_cast<double>(w[i]);
}

void FuseAccumulate__avx512(double* acc, const float* w, double scale, size_t n) {
  const __m512d s = _mm512_set1_pd(scale);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m512d lo = _mm512_cvtps_pd(_mm256_loadu_ps(w + i)), hi = _mm512_cvtps_pd(_mm256_loadu_ps(w + i + 8));
    _mm512_storeu_pd(acc + i, _mm512_add_pd(_mm512_loadu_pd(acc + i), _mm512_mul_pd(s, lo)));
    _mm512_storeu_pd(acc + i + 8, _mm512_add_pd(_mm512_loadu_pd(acc + i + 8), _mm512_mul_pd(s, hi)));
  }
  for (; i < n; ++i) acc[i] += scale * static_cast<double>(w[i]);
}

// `finite` becomes NaN, and stays so, with the first value that is infinite or NaN: x * 0 is NaN then, and a zero otherwise.
static void StoreRounded(float* out, __m512d values, __m256& finite) {
  const __m256 rounded = _mm512_cvtpd_ps(values);
  _mm256_storeu_ps(out, rounded);
  finite = _mm256_fmadd_ps(rounded, _mm256_setzero_ps(), finite);
}

static bool IsFinite(__m256 sums) { return _mm256_cmp_ps_mask(sums, sums, _CMP_UNORD_Q) == 0; }

bool FuseFinish__avx512(const double* acc, const float* w, double scale, float* out, size_t n) {
  const __m512d s = _mm512_set1_pd(scale), zero = _mm512_setzero_pd();
  __m256 sums = _mm256_setzero_ps();
  size_t i = 0;
  if (w == nullptr) {
    for (; i + 8 <= n; i += 8) StoreRounded(out + i, _mm512_loadu_pd(acc + i), sums);
  } else {
    for (; i + 8 <= n; i += 8) {
      const __m512d sum = acc == nullptr ? zero : _mm512_loadu_pd(acc + i);
      StoreRounded(out + i, _mm512_add_pd(sum, _mm512_mul_pd(s, _mm512_cvtps_pd(_mm256_loadu_ps(w + i)))), sums);
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

// Eight values of the channels from `c` on for their patched taps.
static __m512d PatchAt(const double* acc, const float* tap_w, double tap_scale, size_t c) {
  if (acc != nullptr) return _mm512_loadu_pd(acc + c);
  return _mm512_add_pd(_mm512_setzero_pd(), _mm512_mul_pd(_mm512_set1_pd(tap_scale), _mm512_cvtps_pd(_mm256_loadu_ps(tap_w + c))));
}

// scale * w + 0: rounded once, as the product is; the zero turns -0 into +0.
static __m512d Product(__m512d scale, const float* w) {
  return _mm512_fmadd_pd(scale, _mm512_cvtps_pd(_mm256_loadu_ps(w)), _mm512_setzero_pd());
}

template <int kLane>
static __m512d AddLane(__m512d product, __m512d patch) {
  return _mm512_mask_add_pd(product, 1 << kLane, product, patch);
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

// The centre of 3x3 kernels: eight channels are nine vectors, of which eight have one patched lane each, four after that of its
// own channel.
static bool PatchCentre(const double* acc, const float* tap_w, double tap_scale, const float* w, double scale, float* out,
                        size_t channels) {
  const __m512d s = _mm512_set1_pd(scale);
  __m256 sums[3] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
  size_t c = 0;
  for (; c + 8 <= channels; c += 8) {
    const __m512d values = PatchAt(acc, tap_w, tap_scale, c);
    const __m512d patch = _mm512_shuffle_f64x2(values, values, 0x4e);  // halves swapped
    const float* from = w + c * 9;
    float* to = out + c * 9;
    for (size_t line = 0; line < 8 * 9 * sizeof(float); line += 64)
      __builtin_prefetch(reinterpret_cast<const char*>(from) + kAhead + line, 1);
    StoreRounded(to, AddLane<4>(Product(s, from), patch), sums[0]);
    StoreRounded(to + 8, AddLane<5>(Product(s, from + 8), patch), sums[1]);
    StoreRounded(to + 16, AddLane<6>(Product(s, from + 16), patch), sums[2]);
    StoreRounded(to + 24, AddLane<7>(Product(s, from + 24), patch), sums[0]);
    StoreRounded(to + 32, Product(s, from + 32), sums[1]);
    StoreRounded(to + 40, AddLane<0>(Product(s, from + 40), patch), sums[2]);
    StoreRounded(to + 48, AddLane<1>(Product(s, from + 48), patch), sums[0]);
    StoreRounded(to + 56, AddLane<2>(Product(s, from + 56), patch), sums[1]);
    StoreRounded(to + 64, AddLane<3>(Product(s, from + 64), patch), sums[2]);
  }
  return IsFinite(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), sums[2])) &&
         PatchTail(acc, tap_w, tap_scale, 9, 4, w, scale, out, c, channels);
}

bool FusePatch__avx512(const double* acc, const float* tap_w, double tap_scale, size_t taps, size_t tap, const float* w, double scale,
                       float* out, size_t channels) {
  if (taps == 9 && tap == 4) return PatchCentre(acc, tap_w, tap_scale, w, scale, out, channels);
  // Eight channels are `taps` vectors. As `taps` is odd, their eight patched values stand in eight different lanes: one
  // permutation puts the patches there, and a mask a vector adds those that fall into it.
  __mmask8 mask[kFusePatchTaps] = {};
  alignas(64) int64_t order[8];
  for (size_t c = 0; c < 8; ++c) {
    const size_t at = c * taps + tap;
    mask[at / 8] = static_cast<__mmask8>(mask[at / 8] | 1u << at % 8);
    order[at % 8] = static_cast<int64_t>(c);
  }
  const __m512i lanes = _mm512_load_si512(order);
  const __m512d s = _mm512_set1_pd(scale);
  __m256 sums = _mm256_setzero_ps();
  size_t c = 0;
  for (; c + 8 <= channels; c += 8) {
    const __m512d patch = _mm512_permutexvar_pd(lanes, PatchAt(acc, tap_w, tap_scale, c));
    const float* from = w + c * taps;
    float* to = out + c * taps;
    for (size_t v = 0; v < taps; ++v) {
      const __m512d product = Product(s, from + 8 * v);
      StoreRounded(to + 8 * v, _mm512_mask_add_pd(product, mask[v], product, patch), sums);
    }
  }
  return IsFinite(sums) && PatchTail(acc, tap_w, tap_scale, taps, tap, w, scale, out, c, channels);
}

uint32_t FuseScan__avx512(const float* w, size_t n) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  const __mmask16 all = 0xffff;  // g++ 12 warns of its own unmasked maximum
  __m512i most[4];
  for (int k = 0; k < 4; ++k) most[k] = _mm512_setzero_si512();
  size_t i = 0;
  for (; i + 64 <= n; i += 64) {
    for (int k = 0; k < 4; ++k) {
      most[k] = _mm512_maskz_max_epu32(all, most[k], _mm512_and_si512(magnitude, _mm512_loadu_si512(w + i + 16 * k)));
    }
  }
  alignas(64) uint32_t lanes[64];
  for (int k = 0; k < 4; ++k) _mm512_store_si512(lanes + 16 * k, most[k]);
  uint32_t largest = 0;
  for (uint32_t lane : lanes) largest = lane > largest ? lane : largest;
  for (; i < n; ++i) largest = Magnitude(w[i]) > largest ? Magnitude(w[i]) : largest;
  return largest;
}

void FuseProducts__avx512(const double* c, size_t rows, size_t taps, const float* w, size_t pitch, size_t columns, double* out) {
  __mmask8 mask[4];
  for (size_t k = 0; k < 4; ++k) {
    const size_t left = columns > 8 * k ? columns - 8 * k : 0;
    mask[k] = static_cast<__mmask8>(left >= 8 ? 0xff : (1u << left) - 1u);
  }
  size_t t = 0;
  for (; t + 3 <= taps; t += 3) {
    __m512d s0[4], s1[4], s2[4];
    for (int k = 0; k < 4; ++k) s0[k] = s1[k] = s2[k] = _mm512_setzero_pd();
    for (size_t m = 0; m < rows; ++m) {
      const double* row = c + m * kFuseTaps + t;
      const __m512d c0 = _mm512_set1_pd(row[0]), c1 = _mm512_set1_pd(row[1]), c2 = _mm512_set1_pd(row[2]);
      for (int k = 0; k < 4; ++k) {
        const __m512d value = _mm512_cvtps_pd(_mm256_maskz_loadu_ps(mask[k], w + m * pitch + 8 * k));
        s0[k] = _mm512_add_pd(s0[k], _mm512_mul_pd(c0, value));
        s1[k] = _mm512_add_pd(s1[k], _mm512_mul_pd(c1, value));
        s2[k] = _mm512_add_pd(s2[k], _mm512_mul_pd(c2, value));
      }
    }
    for (int k = 0; k < 4; ++k) {
      double* sums = out + t * kFuseColumns + 8 * k;
      _mm512_storeu_pd(sums, s0[k]);
      _mm512_storeu_pd(sums + kFuseColumns, s1[k]);
      _mm512_storeu_pd(sums + 2 * kFuseColumns, s2[k]);
    }
  }
  for (; t < taps; ++t) {
    __m512d sum[4];
    for (int k = 0; k < 4; ++k) sum[k] = _mm512_setzero_pd();
    for (size_t m = 0; m < rows; ++m) {
      const __m512d factor = _mm512_set1_pd(c[m * kFuseTaps + t]);
      for (int k = 0; k < 4; ++k) {
        sum[k] = _mm512_add_pd(sum[k], _mm512_mul_pd(factor, _mm512_cvtps_pd(_mm256_maskz_loadu_ps(mask[k], w + m * pitch + 8 * k))));
      }
    }
    for (int k = 0; k < 4; ++k) _mm512_storeu_pd(out + t * kFuseColumns + 8 * k, sum[k]);
  }
}

}  // namespace repfuse

#pragma GCC pop_options
#endif
