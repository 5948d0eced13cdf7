#include <algorithm>
#include <utility>
#include <vector>

#include "convolutions.h"

namespace repfuse {
namespace {

// Up to so many threads each takes all inputs into the domain for itself: cheaper than to hand the domain's values, which are more, to
// others.
constexpr int kMaxThreadsTransformingAlone = 4;
// Weights up to so many bytes are read by every thread, each for tiles of its own.
constexpr int64_t kMaxSharedWeightBytes = 3 << 20;
// Blocks of inputs whose products are summed one after the other before they join what the blocks before have left (see direct_rows.cc):
// of four outputs an axis, whose way back enlarges errors, fewer. Shorter chains cost more than they gain.
constexpr int64_t kChain = 4, kChainOfFour = 2;
// What a pass holds in the domain where its weights stay in the L2 cache beside it, and where they do not.
constexpr int64_t kSmallPass = 400 << 10, kLargePass = 900 << 10, kCachedWeights = 512 << 10;

// Tiles are taken in passes. Of each pass: inputs into the domain, then panel by panel a matrix product for each of the domain's values,
// and the products back. v: [value][group of tiles][input block][tile][16], products: [value][group of tiles][block of the
// panel][tile][16].
class WinogradConv final : public Step {
 public:
  WinogradConv(ConvSetting setting, TileSize tile, int threads, Value output)
      : Step(output), s_(std::move(setting)), form_(WinogradFormOf(s_.packing.method)), tile_(tile) {
    const ImageShape& shape = output.layout.shape;
    tiles_x_ = (shape.width + form_.columns - 1) / form_.columns;
    tiles_y_ = (shape.height + form_.rows - 1) / form_.rows;
    tiles_ = tiles_x_ * tiles_y_ * shape.batch;
    values_ = form_.values();
    in_blocks_ = s_.channels.in_blocks();
    pass_ = WinogradPass(s_.channels, form_, tile.pixels, tiles_, threads);
    groups_ = (pass_ + tile_.pixels - 1) / tile_.pixels;
    in_size_ = groups_ * in_blocks_ * tile_.pixels * kBlock;
    out_size_ = groups_ * tile_.blocks * tile_.pixels * kBlock;
    int64_t longest = 0;
    for (const Panel& panel : s_.weights->panels) longest = std::max(longest, panel.in_blocks);
    for (int64_t block = 0; block < longest; ++block) taps_.push_back(block * tile_.pixels * kBlock);
  }

  int64_t workspace() const override { return values_ * (in_size_ + out_size_); }

  void Run(const RunState& run) const override {
    const int64_t passes = (tiles_ + pass_ - 1) / pass_;
    if (passes >= run.threads) {  // then a thread takes whole passes, and waits for nobody in between
      ForEach(passes, run.threads, [&](int64_t pass, int slot) {
        const RunState alone{run.slots, run.inputs, run.outputs, run.workspace + slot * run.workspace_size, run.workspace_size, 1};
        RunPass(alone, pass);
      });
      return;
    }
    for (int64_t pass = 0; pass < passes && !Cancelled(); ++pass) RunPass(run, pass);
  }

  std::string kernel() const override {
    std::string name = "winograd F(";
    name += std::to_string(form_.rows);
    if (form_.rows != form_.columns) (name += 'x') += std::to_string(form_.columns);
    return name + ",3) " + std::to_string(tile_.blocks) + "x" + std::to_string(tile_.pixels);
  }

 private:
  struct Place {
    int64_t n, y, x;
  };
  // Tiles of a pass.
  struct Pass {
    int64_t first, count, groups;
  };

  Place PlaceOf(int64_t tile) const {
    const int64_t inside = tile % (tiles_x_ * tiles_y_);
    return {tile / (tiles_x_ * tiles_y_), inside / tiles_x_ * form_.rows, inside % tiles_x_ * form_.columns};
  }
  int64_t TilesOf(const Pass& pass, int64_t group) const { return std::min<int64_t>(tile_.pixels, pass.count - group * tile_.pixels); }

  void RunPass(const RunState& run, int64_t index) const {
    Pass pass{.first = index * pass_, .count = std::min(pass_, tiles_ - index * pass_), .groups = 0};
    pass.groups = (pass.count + tile_.pixels - 1) / tile_.pixels;
    const int64_t panels = static_cast<int64_t>(s_.weights->panels.size());
    const int64_t parts = panels % run.threads == 0 ? 1 : std::min<int64_t>(pass.groups, run.threads), shares = panels * parts;
    const auto multiply = [&](int64_t i, const float* v, int slot) {
      const Panel& panel = s_.weights->panels[static_cast<size_t>(i / parts)];
      const int64_t begin = pass.groups * (i % parts) / parts, end = pass.groups * (i % parts + 1) / parts;
      float* const products = run.workspace + slot * run.workspace_size + values_ * in_size_;
      Multiply(panel, pass, begin, end, v, products);
      TransformOutput(run, panel, pass, begin, end, products);
    };
    if (run.threads <= kMaxThreadsTransformingAlone) {
      const int64_t lanes = std::min<int64_t>(run.threads, shares);
      ForEach(lanes, run.threads, [&](int64_t lane, int slot) {
        float* const v = run.workspace + slot * run.workspace_size;
        const int64_t begin = shares * lane / lanes, end = shares * (lane + 1) / lanes;
        const auto [first, last] = InputsOf(begin / parts, (end - 1) / parts + 1);
        for (int64_t block = first; block < last; ++block) {
          for (int64_t group = 0; group < pass.groups; ++group) TransformInput(run, pass, group, block, v);
        }
        for (int64_t i = begin; i < end; ++i) multiply(i, v, slot);
      });
      return;
    }
    float* const v = run.workspace;
    ForEach(in_blocks_ * pass.groups, run.threads, [&](int64_t i, int) { TransformInput(run, pass, i % pass.groups, i / pass.groups, v); });
    ForEach(shares, run.threads, [&](int64_t i, int slot) { multiply(i, v, slot); });
  }

  // The blocks of inputs that a range of panels reads.
  std::pair<int64_t, int64_t> InputsOf(int64_t begin, int64_t end) const {
    std::pair<int64_t, int64_t> blocks{in_blocks_, 0};
    for (int64_t i = begin; i < end; ++i) {
      const Panel& panel = s_.weights->panels[static_cast<size_t>(i)];
      blocks = {std::min(blocks.first, panel.in_block), std::max(blocks.second, panel.in_block + panel.in_blocks)};
    }
    return blocks;
  }

  // Inputs of a group of tiles into the domain, one block of channels.
  // NOLINTNEXTLINE(readability-non-const-parameter): the kernel writes through tile.v
  void TransformInput(const RunState& run, const Pass& pass, int64_t group, int64_t block, float* v) const {
    const Layout& in = s_.input.layout;
    WinogradInput tile{.x = nullptr, .row = in.row(), .v = v + (group * in_blocks_ + block) * tile_.pixels * kBlock, .value = in_size_};
    for (int64_t i = 0; i < TilesOf(pass, group); ++i, tile.v += kBlock) {
      const Place place = PlaceOf(pass.first + group * tile_.pixels + i);
      tile.x = run.slots[s_.input.slot] + in.at(place.n, block, place.y - s_.pad_top, place.x - s_.pad_left);
      kernels().input(tile);
    }
  }

  void Multiply(const Panel& panel, const Pass& pass, int64_t begin, int64_t end, const float* v, float* products) const {
    static constexpr float kZeros[kMaxTileBlocks * kBlock] = {};
    ConvTile tile{};
    tile.pixel = kBlock;
    tile.y_block = tile_.pixels * kBlock;
    tile.chain = form_.rows == 2 ? kChain : kChainOfFour;
    const int64_t step = panel.in_blocks * panel.blocks * kBlock * kBlock, lines = step * 4 / 64;
    const int64_t paced = (lines + (end - begin) * panel.in_blocks - 1) / ((end - begin) * panel.in_blocks);
    // As in direct_rows.cc: of a last block that is not full the channels that exist.
    const int64_t rest = s_.channels.in_channels % kBlock;
    const int64_t full = rest != 0 && panel.in_block + panel.in_blocks == in_blocks_ ? panel.in_blocks - 1 : panel.in_blocks;
    const float* weight = s_.weights->weight.as<float>() + panel.offset * values_ * kBlock * kBlock;
    for (int64_t value = 0; value < values_; ++value, weight += step) {
      // The weights of the next value, fetched evenly.
      const char* next = reinterpret_cast<const char*>(weight + step);
      const char* const last = std::min(next + lines * 64, s_.weights->weight.as<const char>() + s_.weights->weight.bytes());
      for (int64_t group = begin; group < end; ++group) {
        tile.x = v + value * in_size_ + (group * in_blocks_ + panel.in_block) * tile_.pixels * kBlock;
        tile.y = products + value * out_size_ + group * tile_.blocks * tile_.pixels * kBlock;
        for (int64_t block = 0; block < panel.in_blocks; block += tile.tap_count) {
          tile.taps = taps_.data() + block;
          tile.tap_count = (block < full ? full : panel.in_blocks) - block;
          tile.channels = block < full ? kBlock : rest;
          tile.weight = weight + block * panel.blocks * kBlock * kBlock;
          tile.bias = block == 0 ? kZeros : nullptr;
          tile.prefetch = next;
          tile.prefetch_lines = next < last ? paced : 0;
          s_.blocked().conv(tile, panel.blocks, static_cast<int>(TilesOf(pass, group)));
          next += paced * tile.tap_count * 64;
        }
      }
    }
  }

  // Products of a panel back to outputs.
  void TransformOutput(const RunState& run, const Panel& panel, const Pass& pass, int64_t begin, int64_t end, const float* products) const {
    const Layout& to = output_.layout;
    WinogradOutput tile{};
    tile.value = out_size_;
    tile.row = to.row();
    tile.residual_row = s_.residual ? s_.residual->layout.row() : 0;
    tile.low = s_.epilogue.low();
    tile.high = s_.epilogue.high();
    for (int64_t block = 0; block < panel.blocks; ++block) {
      tile.bias = s_.weights->bias.as<float>() + (panel.block + block) * kBlock;
      for (int64_t group = begin; group < end; ++group) {
        tile.v = products + (group * tile_.blocks + block) * tile_.pixels * kBlock;
        for (int64_t i = 0; i < TilesOf(pass, group); ++i, tile.v += kBlock) {
          const Place place = PlaceOf(pass.first + group * tile_.pixels + i);
          tile.y = out(run) + to.at(place.n, panel.block + block, place.y, place.x);
          tile.rows = static_cast<int>(std::min<int64_t>(form_.rows, to.shape.height - place.y));
          tile.columns = static_cast<int>(std::min<int64_t>(form_.columns, to.shape.width - place.x));
          const float* residual = nullptr;
          if (s_.residual) residual = run.slots[s_.residual->slot] + s_.residual->layout.at(place.n, panel.block + block, place.y, place.x);
          if (s_.epilogue.sums_first()) tile.residual = residual;
          kernels().output(tile);
          if (!s_.epilogue.follows()) continue;
          for (int row = 0; row < tile.rows; ++row) {
            s_.epilogue.Finish(tile.y + row * tile.row, tile.columns, panel.block + block,
                               residual == nullptr ? nullptr : residual + row * tile.residual_row);
          }
        }
      }
    }
  }

  const WinogradKernels& kernels() const {
    const BlockedKernels& all = s_.blocked();
    return form_.rows == 2 ? all.winograd2 : form_.columns == 2 ? all.winograd42 : all.winograd4;
  }

  ConvSetting s_;
  WinogradForm form_;
  TileSize tile_;
  std::vector<int64_t> taps_;
  int64_t tiles_x_, tiles_y_, tiles_, values_, in_blocks_;
  int64_t pass_, groups_;       // tiles of a pass, and their groups
  int64_t in_size_, out_size_;  // elements of one value of the domain: of all inputs, of a panel's products
};

}  // namespace

int64_t WinogradPass(const ChannelGroups& channels, WinogradForm form, int pixels, int64_t tiles, int threads) {
  const int64_t values = form.values(), tile_bytes = values * (channels.in_blocks() + channels.out_blocks()) * kBlock * 4;
  // With weights larger than the cache, reading them once for all tiles matters more than where the tiles lie.
  const int64_t weight_bytes = values * channels.in_blocks() * channels.out_blocks() / channels.groups * kBlock * kBlock * 4;
  if (weight_bytes <= kMaxSharedWeightBytes) tiles = (tiles + threads - 1) / threads;
  const int64_t most = (weight_bytes <= kCachedWeights ? kSmallPass : std::max(kLargePass, weight_bytes)) / tile_bytes;
  return std::min(std::max<int64_t>(most / pixels, 1) * pixels, tiles);
}

std::unique_ptr<Step> MakeWinogradConv(ConvSetting setting, TileSize tile, int threads, Value output) {
  return std::make_unique<WinogradConv>(std::move(setting), tile, threads, output);
}

}  // namespace repfuse
