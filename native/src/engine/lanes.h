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

// Every so many-th lane of each pixel to neighbouring ones.
inline void PickLanes(const LaneRows& rows, int64_t lanes, int64_t step) {
  constexpr int64_t kHalf = kBlock / 2;
  for (int64_t i = 0; i < rows.pixels; ++i) {
    const float* x = rows.x + i * rows.x_pixel;
    float* y = rows.y + i * rows.y_pixel;
    if (lanes == kHalf && step == 2) {  // of vectors
      float picked[kHalf];
      for (int64_t lane = 0; lane < kHalf; ++lane) picked[lane] = x[lane * 2];
      std::copy_n(picked, kHalf, y);
    } else {
      for (int64_t lane = 0; lane < lanes; ++lane) y[lane] = x[lane * step];
    }
  }
}

}  // namespace repfuse
