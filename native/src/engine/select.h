// Which kernel computes a convolution.
#pragma once

#include "layout.h"
#include "packed_weights.h"
#include "panels.h"
#include "rates.h"

namespace repfuse {

struct ConvChoice {
  ConvMethod method;
  TileSize tile;
  double estimate;  // seconds on one thread
  double bytes;     // of packed weights, and of the plain ones where they stay beside them
};

// What the choice depends on: the node, what it reads and what it makes; `threads` only decides the size of its tiles.
ConvChoice ChooseConv(const NetworkNode& node, const ChannelGroups& channels, const Layout& input, const ImageShape& output,
                      const EngineOptions& options, const KernelTable& kernels, int threads);

// Whether a method can compute it at all.
bool CanWinograd(const NetworkNode& node, const ChannelGroups& channels);
bool IsDepthwise(const ChannelGroups& channels);

}  // namespace repfuse
