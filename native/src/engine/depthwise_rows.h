// Rows of a depthwise convolution's output, block by block.
#pragma once

#include <vector>

#include "convolutions.h"

namespace repfuse {

// One filter for each channel.
class DepthwiseRows {
 public:
  // `in` and `out` say how the rows lie, wherever they are.
  DepthwiseRows(ConvSetting setting, const Layout& in, const Layout& out);

  // One block's rows of one image. x: the first tap of the first row; residual: null, or laid out as the setting's.
  void Run(int64_t block, const float* x, float* y, const float* residual, int64_t rows) const;

  const ConvSetting& setting() const { return s_; }
  std::string kernel() const;

 private:
  ConvSetting s_;
  Layout in_, out_;
  std::vector<int64_t> taps_;
  int64_t neighbours_, pixels_;
  int rows_;  // of a tile
};

}  // namespace repfuse
