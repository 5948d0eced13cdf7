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

static const size_t kAhead = 4096;  // bytes that a pass prefetches: hardware prefetchers stop at the end of a page

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

// kTaps 0 stands for any number; a constant one unrolls the loop over them and keeps the masks in registers.
template <size_t kTaps>
static bool Patch(const double* acc, size_t any_taps, size_t tap, const float* w, double scale, float* out, size_t channels) {
  // Eight channels are `taps` vectors. As `taps` is odd, their eight patched values stand in eight different lanes: one
  // permutation puts the patches there, and a mask a vector keeps those that fall into it.
  const size_t taps = kTaps == 0 ? any_taps : kTaps;
  alignas(64) uint64_t mask[kFusePatchTaps][8];  // an AND is cheaper here than a load of a mask register
  for (size_t v = 0; v < taps; ++v) _mm512_store_si512(mask[v], _mm512_setzero_si512());
  alignas(64) int64_t order[8];
  for (size_t c = 0; c < 8; ++c) {
    const size_t at = c * taps + tap;
    mask[at / 8][at % 8] = ~uint64_t{0};
    order[at % 8] = static_cast<int64_t>(c);
  }
  const __m512i lanes = _mm512_load_si512(order);
  const __m512d s = _mm512_set1_pd(scale);
  __m256 sums[3] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
  size_t c = 0;
  for (; c + 8 <= channels; c += 8) {
    const __m512d patch = _mm512_permutexvar_pd(lanes, _mm512_loadu_pd(acc + c));
    const float* from = w + c * taps;
    float* to = out + c * taps;
    for (size_t line = 0; line < 8 * taps * sizeof(float); line += 64) __builtin_prefetch(reinterpret_cast<const char*>(from) + kAhead + line, 1);
#pragma GCC unroll 9
    for (size_t v = 0; v < taps; ++v) {
      const __m512d product = _mm512_mul_pd(s, _mm512_cvtps_pd(_mm256_loadu_ps(from + 8 * v)));
      StoreRounded(to + 8 * v, _mm512_add_pd(_mm512_and_pd(patch, _mm512_load_pd(mask[v])), product), sums[v % 3]);
    }
  }
  float tail = 0;
  for (; c < channels; ++c) {
    for (size_t t = 0; t < taps; ++t) {
      const double product = scale * static_cast<double>(w[c * taps + t]);
      out[c * taps + t] = static_cast<float>((t == tap ? acc[c] : 0.0) + product);
      tail += out[c * taps + t] * 0.0f;
    }
  }
  return IsFinite(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), sums[2])) && tail == 0;
}

bool FusePatch__avx512(const double* acc, size_t taps, size_t tap, const float* w, double scale, float* out, size_t channels) {
  return taps == 9 ? Patch<9>(acc, taps, tap, w, scale, out, channels) : Patch<0>(acc, taps, tap, w, scale, out, channels);
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
