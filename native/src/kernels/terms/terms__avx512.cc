#include "terms.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "../../simd/target.h"

REPFUSE_TARGET_BEGIN(REPFUSE_AVX512)

namespace repfuse {
namespace {

// The upper halves of the result: bf16 bits, rounded as FloatToBf16 does.
inline __m512i Rounded(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i nearest = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_mask_or_epi32(nearest, nan, bits, _mm512_set1_epi32(0x400000));
}

// x less the term that the upper halves of `bits` hold.
inline __m512 Rest(__m512 x, __m512i bits) {
  return x - _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}

}  // namespace

void SplitRowAvx512(const TermRow& row, int terms) {
  for (int64_t pixel = 0; pixel < row.pixels; ++pixel) {
    __m512 x = _mm512_loadu_ps(row.x + pixel * 16);
    uint16_t* y = row.y + pixel * row.pitch;
    for (int t = 0; t < terms; ++t, y += row.term) {
      const __m512i bits = Rounded(x);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
      x = Rest(x, bits);
    }
  }
}

void SplitPlanesAvx512(const TermPlanes& row, int terms) {
  const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
                second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
  for (int64_t pixel = 0; pixel < row.pixels; pixel += 16) {
    const int64_t left = row.pixels - pixel;
    const __mmask16 mask = left >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << left) - 1);
    __m512 x[4];
    for (int c = 0; c < 4; ++c) x[c] = row.planes[c] == nullptr ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask, row.planes[c] + pixel);
    uint16_t* y = row.y + pixel * 4;
    for (int t = 0; t < terms; ++t, y += row.term) {
      __m512i pairs[2];  // of each pixel's channels 0 and 1, 2 and 3
      for (int p = 0; p < 2; ++p) {
        const __m512i even = Rounded(x[2 * p]), odd = Rounded(x[2 * p + 1]);
        x[2 * p] = Rest(x[2 * p], even);
        x[2 * p + 1] = Rest(x[2 * p + 1], odd);
        pairs[p] = _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(even, 16), odd);
      }
      const int64_t low = left < 8 ? left : 8, high = left < 8 ? 0 : left < 16 ? left - 8 : 8;
      _mm512_mask_storeu_epi64(y, static_cast<__mmask8>((1u << low) - 1), _mm512_permutex2var_epi32(pairs[0], first, pairs[1]));
      _mm512_mask_storeu_epi64(y + 32, static_cast<__mmask8>((1u << high) - 1), _mm512_permutex2var_epi32(pairs[0], second, pairs[1]));
    }
  }
}

}  // namespace repfuse

REPFUSE_TARGET_END
#endif
