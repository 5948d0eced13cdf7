// Loads of some lanes; to be included inside the target region of a kernel file. Lane i reads from[i * stride]; masked loads touch
// nothing else, so `from` may lie outside the map as long as the lanes read do not.
#pragma once

#include "lanes.h"

namespace repfuse {
namespace {

constexpr int kLanes = 8;

inline __m256i LaneMask(int begin, int end) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(begin), lane), _mm256_cmpgt_epi32(_mm256_set1_epi32(end), lane));
}

// `other`, with lanes [begin, end) replaced.
template <int kStride>
inline __m256 LoadLanes(const float* from, LaneRange lanes, int64_t stride, __m256 other) {
  if constexpr (kStride == 1) {
    if (lanes.begin == 0 && lanes.end == kLanes) return _mm256_loadu_ps(from);
    const __m256i mask = LaneMask(lanes.begin, lanes.end);
    return _mm256_blendv_ps(other, _mm256_maskload_ps(from, mask), _mm256_castsi256_ps(mask));
  } else if constexpr (kStride == 2) {
    const __m256 low = _mm256_maskload_ps(from, LaneMask(2 * lanes.begin, 2 * lanes.end - 1));
    const __m256 high = _mm256_maskload_ps(from + kLanes, LaneMask(2 * lanes.begin - kLanes, 2 * lanes.end - 1 - kLanes));
    const __m256d even = _mm256_castps_pd(_mm256_shuffle_ps(low, high, 0x88));
    const __m256 values = _mm256_castpd_ps(_mm256_permute4x64_pd(even, 0xD8));
    return _mm256_blendv_ps(other, values, _mm256_castsi256_ps(LaneMask(lanes.begin, lanes.end)));
  } else {
    alignas(32) float values[kLanes];
    _mm256_store_ps(values, other);
    for (int i = lanes.begin; i < lanes.end; ++i) values[i] = from[i * stride];
    return _mm256_load_ps(values);
  }
}

}  // namespace
}  // namespace repfuse
