// Packs the part of the im2col matrix that one panel of the matrix product needs; the whole matrix never exists.
#pragma once

#include <cstdint>
#include <vector>

#include "repfuse/conv.h"

namespace repfuse {

class PanelPacker {
 public:
  // `columns` is the panel width NR of the kernel.
  PanelPacker(const ConvShape& shape, int columns);

  // Output pixels [first, first + count) of one image and group become the panel's columns.
  void SetPixels(int64_t first, int64_t count);
  // Rows [k_begin, k_end) of the im2col matrix (k = (channel, u, v), as in the weight) -> panel [k_end - k_begin][columns].
  // `x` is the first input channel of the group.
  void Pack(const float* x, int64_t k_begin, int64_t k_end, float* panel) const;

 private:
  // Neighbouring output pixels of one output row.
  struct Run {
    int64_t column, count;     // place in the panel
    int64_t row, first;        // input row and column of its first pixel at tap (0, 0)
  };

  void PackTap(const float* plane, int64_t u, int64_t v, float* out) const;

  ConvShape shape_;
  int columns_;
  int64_t used_ = 0;
  std::vector<Run> runs_;
};

}  // namespace repfuse
