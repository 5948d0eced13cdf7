// Rows of a panel of the im2col matrix. A row is made of vectors of columns (output pixels); each vector of pieces, one for every
// output row that it spans. What no piece covers is padding: zero.
#pragma once

#include <cstdint>

#include "lanes.h"

namespace repfuse {

// Some lanes of a vector: lane i reads element offset + i * stride of the channel, moved down with the kernel's rows.
struct PanelPiece {
  int64_t offset;
  int64_t row;  // input row at the first row of the kernel
  LaneRange lanes;
};

struct PanelGeometry {
  int64_t channel_size, height;        // elements, rows of a channel
  int64_t kernel_h, kernel_w, stride;  // stride: elements from one output pixel to the next
  int64_t dilation_h, dilated_row;     // from one row of the kernel to the next: input rows, elements
  const PanelPiece* pieces;            // by column of the kernel, then by vector
  const int64_t* ends;                 // [kernel_w][vectors]: index of the piece after the last of the vector
  int64_t vectors, columns;            // vectors to write; floats from one row of the panel to the next
};

}  // namespace repfuse
