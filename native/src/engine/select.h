// Which kernel computes a convolution.
#pragma once

#include "layout.h"
#include "panels.h"
#include "rates.h"

namespace repfuse {

enum class ConvMethod { kDirect, kWinograd2, kWinograd4, kDepthwise };

struct ConvChoice {
  ConvMethod method;
  TileSize tile;
  double estimate;  // seconds on one thread
};

// What the choice depends on: the node, what it reads and what it makes; `threads` only decides the size of its tiles.
ConvChoice ChooseConv(const NetworkNode& node, const ChannelGroups& channels, const Layout& input, const ImageShape& output,
                      const EngineOptions& options, const KernelTable& kernels, int threads);

// Whether a method can compute it at all.
bool CanWinograd(const NetworkNode& node, const ChannelGroups& channels);
bool IsDepthwise(const ChannelGroups& channels);

}  // namespace repfuse
