// Packs the part of the im2col matrix that one panel of the matrix product needs; the whole matrix never exists.
#pragma once

#include <cstdint>
#include <vector>

#include "panel.h"
#include "repfuse/conv.h"
#include "repfuse/kernels.h"

namespace repfuse {

class PanelPacker {
 public:
  PanelPacker(const ConvShape& shape, const KernelTable& kernels);
  PanelPacker(PanelPacker&&) = default;  // no copies: geometry_ points into the vectors

  // Output pixels [first, first + count) of one image become the panel's columns. Never allocates.
  void SetPixels(int64_t first, int64_t count);
  // Rows [k_begin, k_end) of the im2col matrix (k = (channel, u, v), as in the weight) -> panel [k_end - k_begin][columns].
  // `x` is the first input channel of the group.
  void Pack(const float* x, int64_t k_begin, int64_t k_end, float* panel) const;

 private:
  ConvShape shape_;
  PackPanelF32 pack_;
  int64_t lanes_;
  std::vector<OutputRange> inside_;  // by column of the kernel
  std::vector<PanelPiece> pieces_;
  std::vector<int64_t> ends_;
  PanelGeometry geometry_;
};

}  // namespace repfuse
