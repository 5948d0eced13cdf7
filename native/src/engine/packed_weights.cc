#include "packed_weights.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "../kernels/half/half.h"
#include "layout.h"

namespace repfuse {
namespace {

// Where the plain weight holds the taps of a pair of channels.
class PlainLayout {
 public:
  PlainLayout(const NetworkNode& node, const ChannelGroups& channels) : channels_(channels), taps_(node.kernel_h * node.kernel_w) {}

  // Or -1 where a channel does not exist or belongs to another group.
  int64_t Taps(int64_t out, int64_t in) const {
    if (out >= channels_.out_channels || in >= channels_.in_channels) return -1;
    const int64_t first = out / channels_.out_per_group() * channels_.in_per_group();
    if (in < first || in >= first + channels_.in_per_group()) return -1;
    return (out * channels_.in_per_group() + in - first) * taps_;
  }
  int64_t taps() const { return taps_; }

 private:
  ChannelGroups channels_;
  int64_t taps_;
};

// Calls visit(plain index, packed index) for every weight of a reversible packing.
template <typename Visit>
void ForWeights(const NetworkNode& node, const ChannelGroups& channels, const WeightPacking& packing, const std::vector<Panel>& panels,
                const Visit& visit) {
  const PlainLayout plain(node, channels);
  const int64_t taps = plain.taps();
  if (packing.method == ConvMethod::kDepthwise) {
    for (int64_t c = 0; c < node.out_channels; ++c) {
      for (int64_t tap = 0; tap < taps; ++tap) visit(c * taps + tap, (c / kBlock * taps + tap) * kBlock + c % kBlock);
    }
    return;
  }
  for (const Panel& panel : panels) {
    const int64_t width = panel.blocks * kBlock, inputs = packing.planar ? channels.in_channels : panel.in_blocks * kBlock;
    for (int64_t i = 0; i < inputs; ++i) {
      // The first tap of this input, and from tap to tap.
      const int64_t first = packing.planar ? panel.block * channels.in_channels * taps * kBlock + i * taps * width
                                           : panel.offset * taps * kBlock * kBlock + (i / kBlock * taps * kBlock + i % kBlock) * width;
      const int64_t step = packing.planar ? width : kBlock * width;
      for (int64_t o = 0; o < width; ++o) {
        const int64_t from = plain.Taps(panel.block * kBlock + o, (packing.planar ? 0 : panel.in_block * kBlock) + i);
        if (from < 0) continue;
        for (int64_t tap = 0; tap < taps; ++tap) visit(from + tap, first + tap * step + o);
      }
    }
  }
}

// Calls visit(plain indices of 16 output channels' kernels or -1, the first of their values) for all kernels of Winograd's weights, which
// lie `step` apart.
template <typename Visit>
void ForKernels(const NetworkNode& node, const ChannelGroups& channels, WinogradForm form, const std::vector<Panel>& panels,
                const Visit& visit) {
  const PlainLayout layout(node, channels);
  const int64_t values = form.values();
  int64_t from[kBlock];
  for (const Panel& panel : panels) {
    int64_t at = panel.offset * values * kBlock * kBlock;
    const int64_t step = panel.in_blocks * panel.blocks * kBlock * kBlock;  // from one value to the next
    for (int64_t i = 0; i < panel.in_blocks * kBlock; ++i) {
      for (int64_t block = 0; block < panel.blocks; ++block, at += kBlock) {
        for (int64_t lane = 0; lane < kBlock; ++lane)
          from[lane] = layout.Taps((panel.block + block) * kBlock + lane, panel.in_block * kBlock + i);
        visit(from, at, step);
      }
    }
  }
}

// The plain weights that 16 kernels of Winograd's give back by themselves.
void GiveBack(WinogradForm form, const float* values, int64_t step, float (*kernels)[kBlock]) {
  float u[36][kBlock];
  for (int value = 0; value < form.values(); ++value) std::memcpy(u[value], values + value * step, sizeof u[value]);
  WinogradKernelsOf(form, u, kernels);
}

// A float32's place among all of them: neighbours differ by one.
uint32_t PlaceOf(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

float AtPlace(uint32_t place) { return std::bit_cast<float>((place >> 31) != 0 ? place & 0x7fffffffu : ~place); }

// Weights of terms: where they are, and how many.
class TermOrder {
 public:
  TermOrder(const NetworkNode& node, const WeightPacking& packing)
      : node_(node),
        packing_(packing),
        lanes_(packing.planar ? kTermPlanar : kTermBlock),
        row_steps_((node.kernel_w + packing.row_taps - 1) / packing.row_taps) {}

  int64_t lanes() const { return lanes_; }
  // bf16 elements of an input block of [16 output channels].
  int64_t block() const { return node_.kernel_h * row_steps_ * step(kBlock); }
  // Calls visit(plain index, packed index of its first term, elements from one term to the next) for every weight.
  template <typename Visit>
  void ForWeights(const ChannelGroups& channels, const std::vector<Panel>& panels, const Visit& visit) const {
    const PlainLayout plain(node_, channels);
    for (const Panel& panel : panels) {
      const int64_t width = panel.blocks * kBlock, term = step(width) / packing_.terms;
      for (int64_t i = 0; i < panel.in_blocks * lanes_; ++i) {
        for (int64_t o = 0; o < width; ++o) {
          const int64_t from = plain.Taps(panel.block * kBlock + o, panel.in_block * lanes_ + i);
          if (from < 0) continue;
          for (int64_t y = 0; y < node_.kernel_h; ++y) {
            for (int64_t x = 0; x < node_.kernel_w; ++x) {
              const int64_t index = (i / lanes_ * node_.kernel_h + y) * row_steps_ + x / packing_.row_taps;
              const int64_t input = x % packing_.row_taps * lanes_ + i % lanes_;  // of the step
              visit(from + y * node_.kernel_w + x, panel.offset * block() + index * step(width) + (input / 2 * width + o) * 2 + input % 2,
                    term);
            }
          }
        }
      }
    }
  }

 private:
  // Elements of a step, for `width` output channels.
  int64_t step(int64_t width) const { return packing_.terms * packing_.row_taps * lanes_ * width; }

  const NetworkNode& node_;
  const WeightPacking& packing_;
  int64_t lanes_, row_steps_;
};

int64_t PanelBlocks(const std::vector<Panel>& panels) { return panels.back().offset + panels.back().in_blocks * panels.back().blocks; }

bool PackWinograd(const NetworkNode& node, const float* plain, const ChannelGroups& channels, WinogradForm form, PackedWeights* out) {
  const int64_t values = form.values();
  if (!out->weight.Allocate(static_cast<size_t>(values * PanelBlocks(out->panels) * kBlock * kBlock) * sizeof(float))) return false;
  float g[9][kBlock], u[36][kBlock];
  ForKernels(node, channels, form, out->panels, [&](const int64_t* from, int64_t at, int64_t step) {
    for (int64_t lane = 0; lane < kBlock; ++lane) {
      for (int tap = 0; tap < 9; ++tap) g[tap][lane] = from[lane] < 0 ? 0.0f : plain[from[lane] + tap];
    }
    WinogradWeights(form, g, u);
    float* const packed = out->weight.as<float>() + at;
    for (int64_t value = 0; value < values; ++value) std::memcpy(packed + value * step, u[value], sizeof u[value]);
  });
  return true;
}

bool PackTerms(const NetworkNode& node, const float* plain, const ChannelGroups& channels, const WeightPacking& packing,
               PackedWeights* out) {
  const TermOrder order(node, packing);
  out->panels = CutPanels(channels, packing.blocks, order.lanes());
  if (!out->weight.Allocate(static_cast<size_t>(PanelBlocks(out->panels) * order.block()) * sizeof(uint16_t))) return false;
  std::memset(out->weight.data(), 0, out->weight.bytes());
  auto* packed = out->weight.as<uint16_t>();
  order.ForWeights(channels, out->panels, [&](int64_t from, int64_t to, int64_t term) {
    float rest = plain[from];
    for (int t = 0; t < packing.terms; ++t) {
      packed[to + t * term] = FloatToBf16(rest);
      rest -= Bf16ToFloat(packed[to + t * term]);
    }
    if (rest != 0) out->exact = false;  // or no number
  });
  return true;
}

}  // namespace

void RoundToTerms(float* values, int64_t count, int terms) {
  for (int64_t i = 0; i < count; ++i) {
    float rest = values[i], sum = 0;
    for (int t = 0; t < terms; ++t) {
      const float term = Bf16ToFloat(FloatToBf16(rest));
      sum += term;
      rest -= term;
    }
    values[i] = sum;
  }
}

bool PackWeights(const NetworkNode& node, const float* plain, const ChannelGroups& channels, const WeightPacking& packing,
                 PackedWeights* out) {
  const size_t bias = static_cast<size_t>(channels.out_blocks() * kBlock) * sizeof(float);
  if (!out->bias.Allocate(bias)) return false;
  std::memset(out->bias.data(), 0, bias);
  if (node.bias.bytes() > 0) std::memcpy(out->bias.data(), node.bias.data(), static_cast<size_t>(node.out_channels) * sizeof(float));
  if (MultipliesTerms(packing.method)) return PackTerms(node, plain, channels, packing, out);
  const int64_t taps = node.kernel_h * node.kernel_w;
  if (packing.method == ConvMethod::kFloat64) {
    if (!out->weight.Allocate(static_cast<size_t>(node.weight_count) * sizeof(float))) return false;
    std::memcpy(out->weight.data(), plain, out->weight.bytes());
    return true;
  }
  int64_t size = channels.out_blocks() * taps * kBlock;  // depthwise
  if (packing.method != ConvMethod::kDepthwise) {
    out->panels = CutPanels(channels, packing.blocks);
    if (IsWinograd(packing.method)) return PackWinograd(node, plain, channels, WinogradFormOf(packing.method), out);
    size =
        packing.planar ? channels.out_blocks() * channels.in_channels * taps * kBlock : PanelBlocks(out->panels) * taps * kBlock * kBlock;
  }
  if (!out->weight.Allocate(static_cast<size_t>(size) * sizeof(float))) return false;
  std::memset(out->weight.data(), 0, out->weight.bytes());
  float* packed = out->weight.as<float>();
  ForWeights(node, channels, packing, out->panels, [&](int64_t from, int64_t to) { packed[to] = plain[from]; });
  return true;
}

bool RestOfWeights(const NetworkNode& node, const float* plain, const ChannelGroups& channels, const WeightPacking& packing,
                   const PackedWeights& packed, AlignedBuffer* rest) {
  constexpr size_t kLongest = 5;                                   // bytes of a difference
  const size_t most = static_cast<size_t>(node.weight_count) * 2;  // typical weights take 1.1 bytes each
  AlignedBuffer written;
  if (!written.Allocate(most + kLongest * 9 * kBlock)) return false;
  size_t count = 0;
  auto* const bytes = written.as<uint8_t>();
  ForKernels(node, channels, WinogradFormOf(packing.method), packed.panels, [&](const int64_t* from, int64_t at, int64_t step) {
    if (count > most) return;
    float kernels[9][kBlock];
    GiveBack(WinogradFormOf(packing.method), packed.weight.as<float>() + at, step, kernels);
    for (int64_t lane = 0; lane < kBlock; ++lane) {
      if (from[lane] < 0) continue;
      for (int tap = 0; tap < 9; ++tap) {
        const uint32_t difference = PlaceOf(plain[from[lane] + tap]) - PlaceOf(kernels[tap][lane]);
        // Small ones of either sign first, seven bits a byte.
        uint32_t left = (difference << 1) ^ ((difference >> 31) != 0 ? ~0u : 0u);
        for (; left > 127; left >>= 7) bytes[count++] = static_cast<uint8_t>(left | 128);
        bytes[count++] = static_cast<uint8_t>(left);
      }
    }
  });
  if (count > most || !rest->Allocate(count)) return false;
  std::memcpy(rest->data(), bytes, count);
  return true;
}

void UnpackWeights(const NetworkNode& node, const PackedWeights& packed, const ChannelGroups& channels, const WeightPacking& packing,
                   const AlignedBuffer& rest, float* plain) {
  if (IsWinograd(packing.method)) {
    const auto* bytes = rest.as<const uint8_t>();
    ForKernels(node, channels, WinogradFormOf(packing.method), packed.panels, [&](const int64_t* from, int64_t at, int64_t step) {
      float kernels[9][kBlock];
      GiveBack(WinogradFormOf(packing.method), packed.weight.as<float>() + at, step, kernels);
      for (int64_t lane = 0; lane < kBlock; ++lane) {
        if (from[lane] < 0) continue;
        for (int tap = 0; tap < 9; ++tap) {
          uint32_t coded = *bytes & 127u;
          for (int shift = 7; *bytes++ > 127; shift += 7) coded |= (*bytes & 127u) << shift;
          const uint32_t difference = (coded >> 1) ^ ((coded & 1u) != 0 ? ~0u : 0u);
          plain[from[lane] + tap] = AtPlace(PlaceOf(kernels[tap][lane]) + difference);
        }
      }
    });
    return;
  }
  if (MultipliesTerms(packing.method)) {
    const auto* terms = packed.weight.as<uint16_t>();
    TermOrder(node, packing).ForWeights(channels, packed.panels, [&](int64_t to, int64_t at, int64_t term) {
      float sum = 0;
      for (int t = 0; t < packing.terms; ++t) sum += Bf16ToFloat(terms[at + t * term]);
      plain[to] = sum;
    });
    return;
  }
  const float* from = packed.weight.as<float>();
  if (packing.method == ConvMethod::kFloat64) {
    std::memcpy(plain, from, static_cast<size_t>(node.weight_count) * sizeof(float));
    return;
  }
  ForWeights(node, channels, packing, packed.panels, [&](int64_t to, int64_t at) { plain[to] = from[at]; });
}

}  // namespace repfuse
