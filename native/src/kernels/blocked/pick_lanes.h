// Channels from any lanes of some blocks to the lanes of one: shuffles, slices and concatenations that do not fall on blocks.
#pragma once

#include <cstdint>

namespace repfuse {

// One vector of a level's lanes for each pixel of a row, pixels a block of 16 apart: lane i of y is x[s][lanes[s][i]] of the last source s
// that has one (lanes[s][i] >= 0), and 0 where none has. y may be one of the sources.
struct PickedLanes {
  const float* const* x;
  const int32_t* lanes;  // [count][lanes of the level]
  int64_t count;
  float* y;
  int64_t pixels;
};

}  // namespace repfuse
