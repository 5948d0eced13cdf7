// Loads of some lanes; to be included inside the target region of a kernel file. Lane i reads from[i * stride]; masked loads touch
// nothing else, so `from` may lie outside the map as long as the lanes read do not.
#pragma once

#include "lanes.h"

namespace repfuse {
namespace {

constexpr int kLanes = 16;

inline unsigned Bits(int begin, int end) { return (1u << end) - (1u << begin); }

// `other`, with lanes [begin, end) replaced.
template <int kStride>
inline __m512 LoadLanes(const float* from, LaneRange lanes, int64_t stride, __m512 other) {
  if constexpr (kStride == 1) {
    return _mm512_mask_loadu_ps(other, static_cast<__mmask16>(Bits(lanes.begin, lanes.end)), from);
  } else if constexpr (kStride == 2) {
    if (lanes.begin >= lanes.end) return other;
    const unsigned reads = Bits(2 * lanes.begin, 2 * lanes.end - 1);
    const __m512 low = _mm512_maskz_loadu_ps(static_cast<__mmask16>(reads), from);
    const __m512 high = _mm512_maskz_loadu_ps(static_cast<__mmask16>(reads >> 16), from + kLanes);
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_mask_mov_ps(other, static_cast<__mmask16>(Bits(lanes.begin, lanes.end)), _mm512_permutex2var_ps(low, even, high));
  } else {
    alignas(64) float values[kLanes];
    _mm512_store_ps(values, other);
    for (int i = lanes.begin; i < lanes.end; ++i) values[i] = from[i * stride];
    return _mm512_load_ps(values);
  }
}

}  // namespace
}  // namespace repfuse
