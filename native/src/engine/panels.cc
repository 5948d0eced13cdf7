#include "panels.h"

#include <algorithm>

namespace repfuse {

std::vector<Panel> CutPanels(const ChannelGroups& channels, int most) {
  std::vector<Panel> panels;
  const int64_t groups = channels.regular() ? channels.groups : 1;
  const int64_t out_blocks = channels.out_blocks() / groups, in_blocks = channels.in_blocks() / groups;
  const int64_t step = channels.regular() ? most : 1;
  for (int64_t group = 0; group < groups; ++group) {
    for (int64_t block = 0; block < out_blocks; block += step) {
      Panel panel{.block = group * out_blocks + block, .in_block = group * in_blocks, .in_blocks = in_blocks,
                  .blocks = static_cast<int>(std::min(step, out_blocks - block))};
      if (!channels.regular()) {
        const int64_t first = panel.block * 16 / channels.out_per_group();
        const int64_t last = (std::min(panel.block * 16 + 16, channels.out_channels) - 1) / channels.out_per_group();
        panel.in_block = first * channels.in_per_group() / 16;
        panel.in_blocks = ((last + 1) * channels.in_per_group() - 1) / 16 + 1 - panel.in_block;
      }
      panels.push_back(panel);
    }
  }
  int64_t offset = 0;
  for (Panel& panel : panels) {
    panel.offset = offset;
    offset += panel.in_blocks * panel.blocks;
  }
  return panels;
}

int64_t EvenPart(int64_t pixels, int64_t most) {
  const int64_t parts = (pixels + most - 1) / most;
  return (pixels + parts - 1) / parts;
}

TileSize ChooseTile(const ChannelGroups& channels, int64_t pixels, const BlockedKernels& kernels) {
  TileSize best{1, 1};
  double least = 0;
  for (int blocks = 1; blocks <= kernels.most_blocks; ++blocks) {
    const int64_t part = EvenPart(pixels, kernels.most_pixels[blocks - 1]), parts = (pixels + part - 1) / part;
    double time = 0;
    for (const Panel& panel : CutPanels(channels, blocks)) {
      // Half a cycle for each multiply-add, but no less than their latency; loads of weights and inputs go beside them, and cost a little.
      const double adds = static_cast<double>(panel.blocks * part), loads = static_cast<double>(panel.blocks + part);
      time += static_cast<double>(panel.in_blocks * parts) * (std::max(adds, 8.0) + 0.05 * loads);
    }
    if (least == 0 || time < least) {
      least = time;
      best = {blocks, static_cast<int>(part)};
    }
  }
  return best;
}

}  // namespace repfuse
