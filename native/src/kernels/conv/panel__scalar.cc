// Vectors of 4 columns in plain C++. Called by the panel packer through the kernel table.
#include "panel.h"

namespace repfuse {

void PackPanel__scalar(const PanelGeometry& g, const float* channel, int64_t tap, int64_t rows, float* panel) {
  int64_t u = tap / g.kernel_w, v = tap % g.kernel_w;
  for (; rows > 0; --rows, panel += g.columns) {
    const float* from = channel + u * g.dilated_row;
    const int64_t* end = g.ends + v * g.vectors;
    const PanelPiece* piece = g.pieces + (v == 0 ? 0 : end[-1]);
    for (int64_t j = 0; j < g.vectors; ++j) {
      constexpr int kLanes = 4;
      float* to = panel + j * kLanes;
      for (int i = 0; i < kLanes; ++i) to[i] = 0.0f;
      for (; piece < g.pieces + end[j]; ++piece) {
        const int64_t row = piece->row + u * g.dilation_h;
        if (row < 0 || row >= g.height) continue;
        for (int i = piece->lanes.begin; i < piece->lanes.end; ++i) to[i] = from[piece->offset + i * g.stride];
      }
    }
    if (++v < g.kernel_w) continue;
    v = 0;
    if (++u < g.kernel_h) continue;
    u = 0;
    channel += g.channel_size;
  }
}

}  // namespace repfuse
