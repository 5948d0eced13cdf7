// Rows of a convolution's output: what the steps that compute one are made of.
#pragma once

#include <vector>

#include "convolutions.h"

namespace repfuse {

// Implicit im2col: the taps of a pixel are read where they lie, in the blocked or the planar input.
class DirectRows {
 public:
  // `in` and `out` say how the rows lie, wherever they are.
  DirectRows(ConvSetting setting, TileSize tile, const Layout& in, const Layout& out);

  // One panel's rows of one image. x: the first tap of the first row, in the panel's first input block; residual: null, or laid out as the setting's.
  void Run(const Panel& panel, const float* x, float* y, const float* residual, int64_t rows) const;

  const ConvSetting& setting() const { return s_; }
  TileSize tile() const { return tile_; }
  // Input planes that one pass over the rows adds up: their weights stay in the L1 cache meanwhile.
  int64_t slab() const { return slab_; }
  std::string kernel() const;

 private:
  ConvSetting s_;
  TileSize tile_;
  Layout in_, out_;
  std::vector<int64_t> taps_;
  int64_t channels_ = kBlock, planes_ = 1, kernel_taps_ = 1, slab_ = 1;
};

// One filter for each channel.
class DepthwiseRows {
 public:
  DepthwiseRows(ConvSetting setting, const Layout& in, const Layout& out);

  // One block's rows of one image, as above.
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
