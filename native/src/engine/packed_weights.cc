#include "packed_weights.h"

#include <algorithm>
#include <cstring>

#include "../kernels/blocked/winograd_tile.h"

namespace repfuse {
namespace {

constexpr int64_t kLanes = 16;

// The plain weight, with zeros wherever a channel does not exist or belongs to another group.
class Weight {
 public:
  Weight(const NetworkNode& node, const ChannelGroups& channels)
      : data_(node.weight.as<float>()), channels_(channels), taps_(node.kernel_h * node.kernel_w) {}

  // [kernel_h][kernel_w] of a pair of channels, or null.
  const float* Taps(int64_t out, int64_t in) const {
    if (out >= channels_.out_channels || in >= channels_.in_channels) return nullptr;
    const int64_t first = out / channels_.out_per_group() * channels_.in_per_group();
    if (in < first || in >= first + channels_.in_per_group()) return nullptr;
    return data_ + (out * channels_.in_per_group() + in - first) * taps_;
  }

 private:
  const float* data_;
  ChannelGroups channels_;
  int64_t taps_;
};

bool PackBias(const NetworkNode& node, PackedWeights* out) {
  const size_t size = static_cast<size_t>((node.out_channels + kLanes - 1) / kLanes * kLanes) * sizeof(float);
  if (!out->bias.Allocate(size)) return false;
  std::memset(out->bias.data(), 0, size);
  if (node.bias.bytes() > 0) std::memcpy(out->bias.data(), node.bias.data(), static_cast<size_t>(node.out_channels) * sizeof(float));
  return true;
}

bool AllocateZeros(int64_t elements, AlignedBuffer* out) {
  if (!out->Allocate(static_cast<size_t>(elements) * sizeof(float))) return false;
  std::memset(out->data(), 0, out->bytes());
  return true;
}

int64_t PanelBlocks(const std::vector<Panel>& panels) { return panels.back().offset + panels.back().in_blocks * panels.back().blocks; }

}  // namespace

bool PackDirect(const NetworkNode& node, const ChannelGroups& channels, int blocks, PackedWeights* out) {
  const Weight weight(node, channels);
  const int64_t taps = node.kernel_h * node.kernel_w;
  out->panels = CutPanels(channels, blocks);
  if (!PackBias(node, out) || !AllocateZeros(PanelBlocks(out->panels) * taps * kLanes * kLanes, &out->weight)) return false;
  for (const Panel& panel : out->panels) {
    float* packed = out->weight.as<float>() + panel.offset * taps * kLanes * kLanes;
    const int64_t width = panel.blocks * kLanes;
    for (int64_t i = 0; i < panel.in_blocks * kLanes; ++i) {
      float* to = packed + (i / kLanes * taps * kLanes + i % kLanes) * width;
      for (int64_t o = 0; o < width; ++o) {
        const float* from = weight.Taps(panel.block * kLanes + o, panel.in_block * kLanes + i);
        if (from == nullptr) continue;
        for (int64_t tap = 0; tap < taps; ++tap) to[tap * kLanes * width + o] = from[tap];
      }
    }
  }
  return true;
}

bool PackPlanar(const NetworkNode& node, const ChannelGroups& channels, int blocks, PackedWeights* out) {
  const Weight weight(node, channels);
  const int64_t taps = node.kernel_h * node.kernel_w;
  out->panels = CutPanels(channels, blocks);
  for (Panel& panel : out->panels) panel.offset = panel.block;
  if (!PackBias(node, out) || !AllocateZeros(channels.out_blocks() * channels.in_channels * taps * kLanes, &out->weight)) return false;
  for (const Panel& panel : out->panels) {
    float* packed = out->weight.as<float>() + panel.offset * channels.in_channels * taps * kLanes;
    const int64_t width = panel.blocks * kLanes;
    for (int64_t i = 0; i < channels.in_channels; ++i) {
      for (int64_t o = 0; o < width; ++o) {
        const float* from = weight.Taps(panel.block * kLanes + o, i);
        if (from == nullptr) continue;
        for (int64_t tap = 0; tap < taps; ++tap) packed[(i * taps + tap) * width + o] = from[tap];
      }
    }
  }
  return true;
}

bool PackWinograd(const NetworkNode& node, const ChannelGroups& channels, int m, int blocks, PackedWeights* out) {
  const Weight weight(node, channels);
  const int64_t values = WinogradSize(m) * WinogradSize(m);
  out->panels = CutPanels(channels, blocks);
  const int64_t size = PanelBlocks(out->panels) * kLanes * kLanes;
  if (!PackBias(node, out) || !out->weight.Allocate(static_cast<size_t>(values * size) * sizeof(float))) return false;
  float g[9][kLanes], u[36][kLanes];
  for (const Panel& panel : out->panels) {
    float* packed = out->weight.as<float>() + panel.offset * values * kLanes * kLanes;
    const int64_t step = panel.in_blocks * panel.blocks * kLanes * kLanes;  // from one value to the next
    for (int64_t i = 0; i < panel.in_blocks * kLanes; ++i) {
      for (int64_t block = 0; block < panel.blocks; ++block, packed += kLanes) {
        for (int64_t lane = 0; lane < kLanes; ++lane) {
          const float* from = weight.Taps((panel.block + block) * kLanes + lane, panel.in_block * kLanes + i);
          for (int tap = 0; tap < 9; ++tap) g[tap][lane] = from == nullptr ? 0.0f : from[tap];
        }
        WinogradWeights(m, g, u);
        for (int64_t value = 0; value < values; ++value) std::memcpy(packed + value * step, u[value], sizeof u[value]);
      }
    }
  }
  return true;
}

bool PackDepthwise(const NetworkNode& node, PackedWeights* out) {
  const int64_t taps = node.kernel_h * node.kernel_w, blocks = (node.out_channels + kLanes - 1) / kLanes;
  if (!PackBias(node, out) || !AllocateZeros(blocks * taps * kLanes, &out->weight)) return false;
  const float* from = node.weight.as<float>();
  float* packed = out->weight.as<float>();
  for (int64_t c = 0; c < node.out_channels; ++c) {
    for (int64_t tap = 0; tap < taps; ++tap) packed[(c / kLanes * taps + tap) * kLanes + c % kLanes] = from[c * taps + tap];
  }
  return true;
}

}  // namespace repfuse
