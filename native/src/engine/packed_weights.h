// Weights in the order in which a kernel reads them.
#pragma once

#include <memory>
#include <vector>

#include "panels.h"
#include "repfuse/aligned_buffer.h"
#include "repfuse/engine.h"

namespace repfuse {

// Elements past the end that prefetching may ask for.
struct PackedWeights {
  AlignedBuffer weight;
  AlignedBuffer bias;  // [out blocks][16], zeros where there is none
  std::vector<Panel> panels;

  size_t bytes() const { return weight.bytes() + bias.bytes(); }
};

// [panel][input block][kernel_h][kernel_w][16][blocks][16]; what lies outside a group is zero. False without memory, as below.
bool PackDirect(const NetworkNode& node, const ChannelGroups& channels, int blocks, PackedWeights* out);
// [panel][input channel][kernel_h][kernel_w][blocks][16], for planar input.
bool PackPlanar(const NetworkNode& node, const ChannelGroups& channels, int blocks, PackedWeights* out);
// [panel][value of the domain][input channel][blocks][16]. The transform is in float64, rounded once.
bool PackWinograd(const NetworkNode& node, const ChannelGroups& channels, int m, int blocks, PackedWeights* out);
// [block][kernel_h][kernel_w][16].
bool PackDepthwise(const NetworkNode& node, PackedWeights* out);

}  // namespace repfuse
