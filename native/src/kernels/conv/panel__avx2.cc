// Vectors of 8 columns, put together from their pieces by masked loads and stored whole; strides other than 1 and 2 one lane at a
// time. Called by the panel packer through the kernel table.
#include "panel.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")

#include "lanes__avx2.h"

namespace repfuse {
namespace {

template <int kStride>
inline void Pack(const PanelGeometry& g, const float* channel, int64_t tap, int64_t rows, float* panel) {
  int64_t u = tap / g.kernel_w, v = tap % g.kernel_w;
  for (; rows > 0; --rows, panel += g.columns) {
    const float* from = channel + u * g.dilated_row;
    const int64_t* end = g.ends + v * g.vectors;
    const PanelPiece* piece = g.pieces + (v == 0 ? 0 : end[-1]);
    for (int64_t j = 0; j < g.vectors; ++j) {
      __m256 vector = _mm256_setzero_ps();
      for (; piece < g.pieces + end[j]; ++piece) {
        const uint64_t row = static_cast<uint64_t>(piece->row + u * g.dilation_h);  // negative: very large
        if (row < static_cast<uint64_t>(g.height)) vector = LoadLanes<kStride>(from + piece->offset, piece->lanes, g.stride, vector);
      }
      _mm256_storeu_ps(panel + j * kLanes, vector);
    }
    if (++v < g.kernel_w) continue;
    v = 0;
    if (++u < g.kernel_h) continue;
    u = 0;
    channel += g.channel_size;
  }
}

}  // namespace

void PackPanel__avx2(const PanelGeometry& g, const float* channel, int64_t tap, int64_t rows, float* panel) {
  if (g.stride == 1) return Pack<1>(g, channel, tap, rows, panel);
  if (g.stride == 2) return Pack<2>(g, channel, tap, rows, panel);
  Pack<0>(g, channel, tap, rows, panel);
}

}  // namespace repfuse

#pragma GCC pop_options
#endif
