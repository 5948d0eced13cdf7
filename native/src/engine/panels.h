// How the output channels of a convolution are cut for its tiles, and which inputs each part reads.
#pragma once

#include <cstdint>
#include <vector>

#include "repfuse/kernels.h"

namespace repfuse {

// Neighbouring blocks of output channels that one tile computes, and the blocks of input channels (of 16, or of `lanes`) that they read.
struct Panel {
  int64_t block, in_block, in_blocks;
  int blocks;
  int64_t offset = 0;  // of its packed weights, in units of [16 output channels] for each tap and input of a panel
};

struct ChannelGroups {
  int64_t in_channels, out_channels, groups;

  int64_t in_per_group() const { return in_channels / groups; }
  int64_t out_per_group() const { return out_channels / groups; }
  int64_t in_blocks() const { return (in_channels + 15) / 16; }
  int64_t out_blocks() const { return (out_channels + 15) / 16; }
  // Blocks of channels do not cross groups.
  bool regular(int64_t lanes = 16) const { return groups == 1 || (in_per_group() % lanes == 0 && out_per_group() % 16 == 0); }
};

// A tile's size: blocks of output channels by pixels.
struct TileSize {
  int blocks, pixels;
};

// Panels of at most `most` blocks. A block whose channels belong to several groups reads the blocks of all of them.
std::vector<Panel> CutPanels(const ChannelGroups& channels, int most, int64_t lanes = 16);
// The tile whose multiply-adds over `pixels` neighbouring pixels and all panels take the least time, where a tap reads `tap_inputs`
// channels and `threads` share the panels (1 where they share rows). No result depends on it.
TileSize ChooseTile(const ChannelGroups& channels, int64_t pixels, int64_t tap_inputs, const BlockedKernels& kernels, int threads,
                    int64_t lanes = 16);
// Pixels are cut into parts of at most `most`, as equal as they can be: the largest.
int64_t EvenPart(int64_t pixels, int64_t most);

}  // namespace repfuse
