// Some channels of a row of pixels to other lanes of another.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <utility>

#include "layout.h"

namespace repfuse {

// Where they lie, and how far apart pixels do.
struct LaneRows {
  const float* x;
  int64_t x_pixel;
  float* y;
  int64_t y_pixel;
  int64_t pixels;
};

// So many lanes of each pixel, at most a block. Each number has a loop of its own: of vectors, not of elements.
inline void CopyLanes(const LaneRows& rows, int64_t lanes) {
  using Loop = void (*)(const LaneRows&);
  static constexpr auto kLoops = []<size_t... kBefore>(std::index_sequence<kBefore...>) {
    return std::array<Loop, sizeof...(kBefore)>{[](const LaneRows& r) {
      for (int64_t i = 0; i < r.pixels; ++i) std::memcpy(r.y + i * r.y_pixel, r.x + i * r.x_pixel, (kBefore + 1) * sizeof(float));
    }...};
  }
  (std::make_index_sequence<static_cast<size_t>(kBlock)>());
  if (rows.x_pixel == lanes && rows.y_pixel == lanes) std::copy_n(rows.x, rows.pixels * lanes, rows.y);
  else kLoops[static_cast<size_t>(lanes - 1)](rows);
}

}  // namespace repfuse
