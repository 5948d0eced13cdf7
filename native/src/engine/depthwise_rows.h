// Rows of a depthwise convolution's output, block by block.
#pragma once

#include <vector>

#include "convolutions.h"

namespace repfuse {

// One filter for each channel.
class DepthwiseRows {
 public:
  // `in` and `out` say how the rows lie, wherever they are. ring: 0, or the rows of a ring in which those of the input lie.
  DepthwiseRows(ConvSetting setting, const Layout& in, const Layout& out, int64_t ring = 0);

  // One block's rows of one image. x: the first tap of the first row (of a ring, which row that is says `first`: of the ring's first row);
  // residual: null, or laid out as the setting's. sums: from the first row on.
  void Run(int64_t block, const float* x, float* y, const float* residual, int64_t rows, const RowSums& sums = {}, int64_t first = 0) const;

  const ConvSetting& setting() const { return s_; }
  std::string kernel() const;

 private:
  ConvSetting s_;
  Layout in_, out_;
  int64_t ring_, phase_taps_;
  std::vector<int64_t> taps_;  // for each row of the ring that may be the first; with those of the row after them, which pairs read
  int64_t neighbours_, pixels_;
  int rows_;  // of a tile
};

}  // namespace repfuse
