#include "panels.h"

#include <algorithm>

namespace repfuse {

std::vector<Panel> CutPanels(const ChannelGroups& channels, int most, int64_t lanes) {
  std::vector<Panel> panels;
  const bool regular = channels.regular(lanes);
  const int64_t groups = regular ? channels.groups : 1;
  const int64_t out_blocks = channels.out_blocks() / groups, in_blocks = (channels.in_channels + lanes - 1) / lanes / groups;
  const int64_t step = regular ? most : 1;
  for (int64_t group = 0; group < groups; ++group) {
    for (int64_t block = 0; block < out_blocks; block += step) {
      Panel panel{.block = group * out_blocks + block,
                  .in_block = group * in_blocks,
                  .in_blocks = in_blocks,
                  .blocks = static_cast<int>(std::min(step, out_blocks - block))};
      if (!regular) {
        const int64_t first = panel.block * 16 / channels.out_per_group();
        const int64_t last = (std::min(panel.block * 16 + 16, channels.out_channels) - 1) / channels.out_per_group();
        panel.in_block = first * channels.in_per_group() / lanes;
        panel.in_blocks = ((last + 1) * channels.in_per_group() - 1) / lanes + 1 - panel.in_block;
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

namespace {

// Half cycles of a tile for each input, roughly: one for each multiply-add, but no less than their latency, and no less than a bit over one
// for each load; vectors of weights cost a little, more than the registers hold (4 x 7) cost more, and so does going on to the next tap.
double TileCost(int64_t blocks, int64_t pixels, int64_t tap_inputs) {
  const double products = static_cast<double>(blocks * pixels), loads = static_cast<double>(blocks + pixels);
  const bool spills = blocks * pixels + blocks + 1 > 32;
  return std::max({products, 1.15 * loads, 8.0}) + 0.75 * static_cast<double>(blocks) + (spills ? 2 : 0) +
         8.0 / static_cast<double>(tap_inputs);
}

// The busiest thread's, if panels are dealt out in order.
double PanelsCost(const std::vector<Panel>& panels, int64_t pixels, int64_t part, int64_t tap_inputs, int threads) {
  const int64_t full = pixels / part, rest = pixels % part, count = static_cast<int64_t>(panels.size());
  double worst = 0;
  for (int64_t lane = 0; lane < threads; ++lane) {
    double time = 0;
    for (int64_t i = count * lane / threads; i < count * (lane + 1) / threads; ++i) {
      const Panel& panel = panels[static_cast<size_t>(i)];
      time += static_cast<double>(panel.in_blocks) * (static_cast<double>(full) * TileCost(panel.blocks, part, tap_inputs) +
                                                      (rest == 0 ? 0.0 : TileCost(panel.blocks, rest, tap_inputs)));
    }
    worst = std::max(worst, time);
  }
  return worst;
}

}  // namespace

TileSize ChooseTile(const ChannelGroups& channels, int64_t pixels, int64_t tap_inputs, const BlockedKernels& kernels, int threads,
                    int64_t lanes) {
  TileSize best{1, 1};
  double least = 0;
  for (int blocks = 1; blocks <= kernels.max_blocks; ++blocks) {
    const std::vector<Panel> panels = CutPanels(channels, blocks, lanes);
    const int64_t most = std::min<int64_t>(kernels.max_pixels[blocks - 1], pixels);
    for (int64_t part = most; part > most / 2; --part) {
      const double time = PanelsCost(panels, pixels, part, tap_inputs, threads);
      if (least != 0 && time > least) continue;  // of equals the smaller, which divides more evenly
      least = time;
      best = {blocks, static_cast<int>(part)};
    }
  }
  return best;
}

}  // namespace repfuse
