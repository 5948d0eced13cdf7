#include "select.h"

#include <algorithm>
#include <optional>

#include "../kernels/tiles/matrix_tile.h"
#include "convolutions.h"

namespace repfuse {
namespace {

// Winograd's larger forms have weights 1.5 times as large as the form before, and lose more: they must be so much faster.
constexpr double kMaxTimeOfLarger = 0.9;
// Bytes of weights that stay in the L2 cache from one run to the next. Others are fetched while the tile multiplies, which costs time even
// where it goes fast enough: as if they came so many times as fast, and nothing was done meanwhile. Measured on 192 channels of 14 x 14,
// where F(2, 3) takes less time than both others.
constexpr double kCachedWeights = 1.5e6, kHidden = 1.7;

// Of what Winograd's weights lack of a plain one (RestOfWeights).
constexpr double kRestBytes = 1.15;

// Beyond it a tile might read too far past its last pixel (Layout::kReadAheadPixels).
constexpr int64_t kMaxTermStride = 4;

struct Cost {
  double macs, weight_bytes;
};

// Multiply-accumulates with what tiles and blocks waste, and bytes of packed weights, for `pixels` neighbours `times` times.
Cost PanelCost(const ChannelGroups& channels, TileSize tile, double pixels, double taps, const BlockedKernels& kernels,
               int64_t lanes = kBlock) {
  double macs = 0, bytes = 0;
  for (const Panel& panel : CutPanels(channels, tile.blocks, lanes)) {
    const double pairs = static_cast<double>(panel.in_blocks * lanes * panel.blocks * kBlock) * taps;
    // A tile of few accumulators waits for its own sums.
    const double full = std::min(1.0, static_cast<double>(panel.blocks * tile.pixels) / (kernels.max_blocks > 1 ? 8.0 : 4.0));
    macs += pairs * pixels / full;
    bytes += pairs * 4;
  }
  return {macs, bytes};
}

ConvChoice Direct(const NetworkNode& node, const ChannelGroups& channels, const Layout& input, const ImageShape& output,
                  const KernelTable& kernels, const Rates& rates) {
  const bool vectors = input.kind == Layout::Kind::kVectors;
  const TileSize tile =
      ChooseTile(channels, vectors ? output.batch : output.width, input.kind == Layout::Kind::kPlanar ? 1 : kBlock, kernels.blocked, 1);
  double taps = static_cast<double>(node.kernel_h * node.kernel_w);
  if (input.kind == Layout::Kind::kPlanar) taps *= static_cast<double>(channels.in_channels) / kBlock;
  const Cost cost = PanelCost(channels, tile, static_cast<double>(output.batch * output.height * output.width), taps, kernels.blocked);
  return {ConvMethod::kDirect, tile, std::max(cost.macs / rates.direct, cost.weight_bytes / rates.weights), cost.weight_bytes};
}

// A form of Winograd's algorithm: how it is asked for, and what it loses.
struct WinogradRow {
  ConvMethod method;
  Algorithm algorithm;
  double WinogradErrors::*error;
};
constexpr WinogradRow kWinogradRows[] = {{ConvMethod::kWinograd2, Algorithm::kWinograd2, &WinogradErrors::by2x2},
                                         {ConvMethod::kWinograd42, Algorithm::kWinograd42, &WinogradErrors::by4x2},
                                         {ConvMethod::kWinograd4, Algorithm::kWinograd4, &WinogradErrors::by4x4}};

ConvChoice Winograd(const WinogradRow& row, const NetworkNode& node, const ChannelGroups& channels, const ImageShape& output,
                    const KernelTable& kernels, const Rates& rates, int threads) {
  const WinogradForm form = WinogradFormOf(row.method);
  const int64_t tiles = output.batch * ((output.height + form.rows - 1) / form.rows) * ((output.width + form.columns - 1) / form.columns);
  const double values = form.values();
  const TileSize tile = ChooseTile(channels, tiles, kBlock, kernels.blocked, threads);
  const int64_t pass = WinogradPass(channels, form, tile.pixels, tiles, 1), passes = (tiles + pass - 1) / pass;
  const Cost cost = PanelCost(channels, tile, static_cast<double>(tiles), values, kernels.blocked);
  // Each value is written once and read once, before the products and after them; pixels are read with their overlap.
  const double moved =
      static_cast<double>(tiles) * static_cast<double>((channels.in_blocks() + channels.out_blocks()) * kBlock * 4) * 3 * values;
  const double streamed = std::max(cost.weight_bytes - kCachedWeights, 0.0) * static_cast<double>(passes);
  const double products = std::max(cost.macs / rates.products + streamed / (kHidden * rates.weights),
                                   cost.weight_bytes * static_cast<double>(passes) / rates.weights);
  const double rest = static_cast<double>(channels.out_channels * channels.in_per_group() * 9) * kRestBytes;
  return {.method = row.method,
          .tile = tile,
          .estimate = products + moved / rates.transforms,
          .bytes = cost.weight_bytes + rest,
          .error = node.winograd_errors.*row.error};
}

// Products of terms, where they can be had: matrix tiles before vectors of pairs.
std::optional<ConvChoice> Products(const NetworkNode& node, const ChannelGroups& channels, const ConvInput& input, const ImageShape& output,
                                   const Target& target, const Rates& rates) {
  const KernelTable& kernels = target.kernels;
  const int terms = TermsOf(target.options.precision, kernels);
  Layout layout = input.layout;
  layout.terms = terms;
  const bool planar = layout.kind == Layout::Kind::kPlanar;
  if (terms == 0 || node.stride_w > kMaxTermStride || (planar && channels.in_channels > kTermPlanar)) return std::nullopt;
  const bool tiles = kernels.products.tiles.run != nullptr;
  const int64_t lanes = layout.lanes(), width = layout.kind == Layout::Kind::kVectors ? output.batch : output.width;
  ConvChoice choice{tiles ? ConvMethod::kTiles : ConvMethod::kPairs, {}, 0, 0, terms};
  if (tiles && planar && node.dilation_w == 1) choice.row_taps = node.kernel_w <= 4 ? 4 : 8;
  double pixels = static_cast<double>(output.batch * output.height * output.width);
  if (tiles) {
    choice.tile = {2, static_cast<int>(EvenPart(width, kMaxMatrixPixels))};
    const int64_t whole_tiles = (width + choice.tile.pixels - 1) / choice.tile.pixels * choice.tile.pixels;
    pixels *= static_cast<double>(whole_tiles) / static_cast<double>(width);
  } else {
    choice.tile = ChooseTile(channels, width, lanes / 2, kernels.blocked, 1, lanes);
  }
  const int64_t taps = node.kernel_h * ((node.kernel_w + choice.row_taps - 1) / choice.row_taps * choice.row_taps);
  const Cost cost = PanelCost(channels, choice.tile, pixels, static_cast<double>(taps), kernels.blocked, lanes);
  choice.bytes = cost.weight_bytes / 2 * terms;
  choice.estimate = std::max(cost.macs / rates.terms[terms - 1], choice.bytes / rates.weights);
  if (terms < 3 && KeptTerms(node, target) == 0) choice.bytes += static_cast<double>(node.weight_count) * 4;
  if (!input.as_terms)
    choice.estimate += static_cast<double>(layout.shape.batch) * static_cast<double>(layout.term()) * (4 + 4 * terms) / rates.transforms;
  return choice;
}

}  // namespace

ConvChoice Plain(const NetworkNode& node) { return {ConvMethod::kFloat64, {1, 1}, 0, static_cast<double>(node.weight_count) * 4}; }

int TermsOf(Precision precision, const KernelTable& kernels) {
  const int terms = precision == Precision::kF32 ? 3 : precision == Precision::kFast ? 2 : 1;
  return terms <= kernels.products.terms ? terms : 0;
}

int KeptTerms(const NetworkNode& node, const Target& target) {
  const int terms = TermsOf(target.options.precision, target.kernels);
  if (terms == 3 || target.options.algorithm == Algorithm::kFloat64 || node.weight_count == 0) return 0;
  const ChannelGroups channels{node.weight_count / (node.out_channels * node.kernel_h * node.kernel_w) * node.groups, node.out_channels,
                               node.groups};
  // Beside pairs Winograd's algorithm wins often; beside matrix tiles hardly ever.
  const bool float32 = IsDepthwise(channels) || (target.kernels.products.tiles.run == nullptr && CanWinograd(node, channels));
  return float32 ? 0 : terms;
}

bool CanWinograd(const NetworkNode& node, const ChannelGroups& channels) {
  return node.kernel_h == 3 && node.kernel_w == 3 && node.stride_h == 1 && node.stride_w == 1 && node.dilation_h == 1 &&
         node.dilation_w == 1 && channels.regular();
}

bool IsDepthwise(const ChannelGroups& channels) {
  return channels.groups > 1 && channels.groups == channels.in_channels && channels.groups == channels.out_channels;
}

std::vector<ConvChoice> ConvChoices(const NetworkNode& node, const ChannelGroups& channels, const ConvInput& input,
                                    const ImageShape& output, const Target& target) {
  const EngineOptions& options = target.options;
  const KernelTable& kernels = target.kernels;
  const Rates& rates = RatesOf(kernels.isa);
  const Layout& layout = input.layout;
  if (options.algorithm == Algorithm::kFloat64) return {Plain(node)};
  // The tile follows the real batch, on which no result depends.
  ImageShape judged = output;
  if (options.batch_invariant) judged.batch = 1;
  if (IsDepthwise(channels)) {
    const double weights = static_cast<double>(layout.blocks() * kBlock) * static_cast<double>(node.kernel_h * node.kernel_w);
    const double macs = static_cast<double>(judged.batch * judged.height * judged.width) * weights;
    return {{ConvMethod::kDepthwise, {1, 1}, macs / rates.depthwise, weights * 4}};
  }
  const bool any = options.algorithm == Algorithm::kAuto;
  std::vector<ConvChoice> choices = {Direct(node, channels, layout, judged, kernels, rates)};
  for (const WinogradRow& row : kWinogradRows) {
    if ((any || options.algorithm == row.algorithm) && CanWinograd(node, channels) && layout.kind == Layout::Kind::kBlocked)
      choices.push_back(Winograd(row, node, channels, judged, kernels, rates, 1));
  }
  // Six products for one of float32 are taken where they are asked for, not by themselves: matrix tiles, which cores of a machine may
  // share, were slower than float32 as often as not.
  const bool products = any ? options.precision != Precision::kF32 : options.algorithm == Algorithm::kProducts;
  if (products) {
    if (const auto choice = Products(node, channels, input, judged, target, rates)) choices.push_back(*choice);
  }
  if (!any && choices.size() > 1) choices.erase(choices.begin());  // what was asked for can be had
  // The tile that suits the real batch and the threads.
  for (ConvChoice& choice : choices) {
    if (choice.method == ConvMethod::kDirect) choice.tile = Direct(node, channels, layout, output, kernels, rates).tile;
    else if (MultipliesTerms(choice.method)) choice.tile = Products(node, channels, input, output, target, rates)->tile;
    for (const WinogradRow& row : kWinogradRows) {
      if (choice.method == row.method) choice.tile = Winograd(row, node, channels, output, kernels, rates, target.threads).tile;
    }
  }
  return choices;
}

ConvChoice ChooseConv(const NetworkNode& node, const ChannelGroups& channels, const ConvInput& input, const ImageShape& output,
                      const Target& target) {
  const std::vector<ConvChoice> choices = ConvChoices(node, channels, input, output, target);
  const ConvChoice* best = choices.data();
  for (const ConvChoice& choice : choices) {
    // What rounds more, and has larger weights, must be so much faster.
    const bool dearer = IsWinograd(choice.method) && IsWinograd(best->method);
    if (choice.estimate < best->estimate * (dearer ? kMaxTimeOfLarger : 1)) best = &choice;
  }
  return *best;
}

}  // namespace repfuse
