// Weights in the order in which a kernel reads them.
#pragma once

#include <vector>

#include "panels.h"
#include "repfuse/aligned_buffer.h"
#include "repfuse/engine.h"

namespace repfuse {

enum class ConvMethod { kDirect, kWinograd2, kWinograd4, kDepthwise };

// Which order that is.
struct WeightForm {
  ConvMethod method;
  bool planar;  // of a direct convolution: its input is
  int blocks;   // of output channels in a tile

  bool operator==(const WeightForm&) const = default;
  // Winograd's hold other values: the plain ones cannot be had back.
  bool reversible() const { return method == ConvMethod::kDirect || method == ConvMethod::kDepthwise; }
};

struct PackedWeights {
  AlignedBuffer weight;
  AlignedBuffer bias;  // [out blocks][16], zeros where there is none
  std::vector<Panel> panels;

  size_t bytes() const { return weight.bytes() + bias.bytes(); }
};

// `plain` is OIHW. What lies outside a group is zero. False without memory. Direct:
// [panel][input block][kernel_h][kernel_w][16][blocks][16]; planar: [panel][input channel][kernel_h][kernel_w][blocks][16]; Winograd:
// [panel][value of the domain][input channel][blocks][16], transformed in float64 and rounded once; depthwise: [block][kernel_h][kernel_w][16].
bool PackWeights(const NetworkNode& node, const float* plain, const ChannelGroups& channels, const WeightForm& form, PackedWeights* out);
// The plain weights of a form that is reversible.
void UnpackWeights(const NetworkNode& node, const PackedWeights& packed, const ChannelGroups& channels, const WeightForm& form, float* plain);

}  // namespace repfuse
