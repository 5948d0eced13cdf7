#include "select.h"

#include <algorithm>

#include "../kernels/blocked/winograd_tile.h"
#include "convolutions.h"

namespace repfuse {
namespace {

// F(4, 3)'s weights are 2.25 times F(2, 3)'s: they must be so much faster.
constexpr double kWorthGrowing = 0.9;

struct Cost {
  double macs, weight_bytes;
};

// Multiply-accumulates with what tiles and blocks waste, and bytes of packed weights, for `pixels` neighbours `times` times.
Cost PanelCost(const ChannelGroups& channels, TileSize tile, double pixels, double taps, const BlockedKernels& kernels) {
  double macs = 0, bytes = 0;
  for (const Panel& panel : CutPanels(channels, tile.blocks)) {
    const double pairs = static_cast<double>(panel.in_blocks * panel.blocks * kBlock * kBlock) * taps;
    // A tile of few accumulators waits for its own sums.
    const double full = std::min(1.0, static_cast<double>(panel.blocks * tile.pixels) / (kernels.most_blocks > 1 ? 8.0 : 4.0));
    macs += pairs * pixels / full;
    bytes += pairs * 4;
  }
  return {macs, bytes};
}

ConvChoice Direct(const NetworkNode& node, const ChannelGroups& channels, const Layout& input, const ImageShape& output, const KernelTable& kernels,
                  const Rates& rates) {
  const bool vectors = input.form == Layout::Form::kVectors;
  const TileSize tile = ChooseTile(channels, vectors ? output.batch : output.width, input.form == Layout::Form::kPlanar ? 1 : kBlock, kernels.blocked, 1);
  double taps = static_cast<double>(node.kernel_h * node.kernel_w);
  if (input.form == Layout::Form::kPlanar) taps *= static_cast<double>(channels.in_channels) / kBlock;
  const Cost cost = PanelCost(channels, tile, static_cast<double>(output.batch * output.height * output.width), taps, kernels.blocked);
  return {ConvMethod::kDirect, tile, std::max(cost.macs / rates.direct, cost.weight_bytes / rates.weights), cost.weight_bytes};
}

ConvChoice Winograd(int m, const ChannelGroups& channels, const ImageShape& output, const KernelTable& kernels, const Rates& rates, int threads) {
  const int64_t tiles = output.batch * ((output.height + m - 1) / m) * ((output.width + m - 1) / m);
  const double values = WinogradSize(m) * WinogradSize(m);
  const TileSize tile = ChooseTile(channels, tiles, kBlock, kernels.blocked, threads);
  const int64_t pass = WinogradPass(channels, m, tile.pixels, tiles, 1), passes = (tiles + pass - 1) / pass;
  const Cost cost = PanelCost(channels, tile, static_cast<double>(tiles), values, kernels.blocked);
  // Each value is written once and read once, before the products and after them; pixels are read with their overlap.
  const double moved = static_cast<double>(tiles * (channels.in_blocks() + channels.out_blocks()) * kBlock * 4) * 3 * values;
  const double products = std::max(cost.macs / rates.products, cost.weight_bytes * static_cast<double>(passes) / rates.weights);
  const double plain = static_cast<double>(channels.out_channels * channels.in_per_group() * 9 * 4);
  return {m == 2 ? ConvMethod::kWinograd2 : ConvMethod::kWinograd4, tile, products + moved / rates.transforms, cost.weight_bytes + plain};
}

}  // namespace

bool CanWinograd(const NetworkNode& node, const ChannelGroups& channels) {
  return node.kernel_h == 3 && node.kernel_w == 3 && node.stride_h == 1 && node.stride_w == 1 && node.dilation_h == 1 && node.dilation_w == 1 &&
         channels.regular();
}

bool IsDepthwise(const ChannelGroups& channels) {
  return channels.groups > 1 && channels.groups == channels.in_channels && channels.groups == channels.out_channels;
}

ConvChoice ChooseConv(const NetworkNode& node, const ChannelGroups& channels, const Layout& input, const ImageShape& output, const EngineOptions& options,
                      const KernelTable& kernels, int threads) {
  const Rates& rates = RatesOf(kernels.isa);
  // The tile follows the real batch, on which no result depends.
  ImageShape judged = output;
  if (options.batch_invariant) judged.batch = 1;
  if (IsDepthwise(channels)) {
    const double macs = static_cast<double>(judged.batch * judged.height * judged.width * input.blocks() * kBlock * node.kernel_h * node.kernel_w);
    return {ConvMethod::kDepthwise, {1, 1}, macs / rates.depthwise, static_cast<double>(input.blocks() * kBlock * node.kernel_h * node.kernel_w * 4)};
  }
  ConvChoice best = Direct(node, channels, input, judged, kernels, rates);
  if (options.algorithm != Algorithm::kDirect && CanWinograd(node, channels) && input.form == Layout::Form::kBlocked) {
    for (const int m : {2, 4}) {
      const bool asked = options.algorithm == (m == 2 ? Algorithm::kWinograd2 : Algorithm::kWinograd4);
      const ConvChoice choice = Winograd(m, channels, judged, kernels, rates, 1);
      const double gain = best.method == ConvMethod::kWinograd2 ? kWorthGrowing : 1;
      if (asked || (options.algorithm == Algorithm::kAuto && choice.estimate < best.estimate * gain)) best = choice;
    }
  }
  // The tile that suits the real batch and the threads.
  if (best.method == ConvMethod::kDirect) best.tile = Direct(node, channels, input, output, kernels, rates).tile;
  else best.tile = Winograd(best.method == ConvMethod::kWinograd2 ? 2 : 4, channels, output, kernels, rates, threads).tile;
  return best;
}

}  // namespace repfuse
