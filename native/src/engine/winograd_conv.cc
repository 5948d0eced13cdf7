#include <algorithm>
#include <vector>

#include "../kernels/blocked/winograd_tile.h"
#include "convolutions.h"

namespace repfuse {
namespace {

constexpr int64_t kPassBytes = 900 << 10;

// Tiles are taken in passes. Of each pass: inputs into the domain, one matrix product for each of its values, products back.
// v: [value][group of tiles][input block][tile][16], products: [value][group of tiles][output block][tile][16].
class WinogradConv final : public Step {
 public:
  WinogradConv(ConvSetting setting, int m, TileSize tile, Value output) : Step(output), s_(std::move(setting)), m_(m), tile_(tile) {
    const ImageShape& shape = output.layout.shape;
    tiles_x_ = (shape.width + m - 1) / m;
    tiles_y_ = (shape.height + m - 1) / m;
    tiles_ = tiles_x_ * tiles_y_ * shape.batch;
    values_ = WinogradSize(m) * WinogradSize(m);
    in_blocks_ = s_.channels.in_blocks();
    out_blocks_ = s_.channels.out_blocks();
    pass_ = WinogradPass(s_.channels, m, tile.pixels, tiles_);
    const int64_t groups = (pass_ + tile_.pixels - 1) / tile_.pixels;
    in_size_ = groups * in_blocks_ * tile_.pixels * kBlock;
    out_size_ = groups * out_blocks_ * tile_.pixels * kBlock;
    int64_t longest = 0;
    for (const Panel& panel : s_.weights->panels) longest = std::max(longest, panel.in_blocks);
    for (int64_t block = 0; block < longest; ++block) taps_.push_back(block * tile_.pixels * kBlock);
    panel_size_ = static_cast<int64_t>(s_.weights->weight.bytes() / sizeof(float)) / values_;
  }

  int64_t workspace() const override { return values_ * (in_size_ + out_size_); }

  void Run(const RunState& run) const override {
    const int64_t passes = (tiles_ + pass_ - 1) / pass_;
    if (passes >= 2 * run.threads) {  // then a thread takes whole passes, and waits for nobody in between
      ForEach(passes, run.threads, [&](int64_t pass, int slot) { RunPass(run, pass, run.workspace + slot * run.workspace_size, 1); });
      return;
    }
    for (int64_t pass = 0; pass < passes && !Cancelled(); ++pass) RunPass(run, pass, run.workspace, run.threads);
  }

  std::string kernel() const override {
    return "winograd F(" + std::to_string(m_) + ",3) " + std::to_string(tile_.blocks) + "x" + std::to_string(tile_.pixels);
  }

 private:
  struct Place {
    int64_t n, y, x;
  };
  Place PlaceOf(int64_t tile) const {
    const int64_t inside = tile % (tiles_x_ * tiles_y_);
    return {tile / (tiles_x_ * tiles_y_), inside / tiles_x_ * m_, inside % tiles_x_ * m_};
  }

  void RunPass(const RunState& run, int64_t pass, float* workspace, int threads) const {
    const int64_t first = pass * pass_, count = std::min(pass_, tiles_ - first), groups = (count + tile_.pixels - 1) / tile_.pixels;
    float* const v = workspace;
    float* const products = workspace + values_ * in_size_;
    const auto& [input, output] = m_ == 2 ? s_.kernels->winograd2 : s_.kernels->winograd4;
    const auto in_group = [&](int64_t group) { return std::min<int64_t>(tile_.pixels, count - group * tile_.pixels); };

    ForEach(groups * in_blocks_, threads, [&](int64_t index, int) {
      const int64_t group = index / in_blocks_, block = index % in_blocks_;
      const Layout& in = s_.input.layout;
      WinogradInput tile{.x = nullptr, .row = in.row(), .v = v + index * tile_.pixels * kBlock, .value = in_size_};
      for (int64_t i = 0; i < in_group(group); ++i, tile.v += kBlock) {
        const Place place = PlaceOf(first + group * tile_.pixels + i);
        tile.x = run.slots[s_.input.slot] + in.at(place.n, block, place.y - s_.pad_top, place.x - s_.pad_left);
        input(tile);
      }
    });

    const int64_t panels = static_cast<int64_t>(s_.weights->panels.size());
    ForEach(values_ * panels, threads, [&](int64_t index, int) {
      const Panel& panel = s_.weights->panels[static_cast<size_t>(index % panels)];
      const int64_t value = index / panels;
      ConvTile tile{};
      tile.taps = taps_.data();
      tile.tap_count = panel.in_blocks;
      tile.channels = kBlock;
      tile.pixel = kBlock;
      tile.weight = s_.weights->weight.as<float>() + value * panel_size_ + panel.offset * kBlock * kBlock;
      tile.y_block = tile_.pixels * kBlock;
      tile.bias = kZeros;
      const int64_t lines = panel.in_blocks * kBlock * panel.blocks;
      const char* next = reinterpret_cast<const char*>(tile.weight) + lines * 64;
      const char* const end = std::min(next + lines * 64, s_.weights->weight.as<const char>() + s_.weights->weight.bytes());
      const int64_t paced = (lines + groups * panel.in_blocks - 1) / (groups * panel.in_blocks);
      for (int64_t group = 0; group < groups; ++group) {
        tile.x = v + value * in_size_ + (group * in_blocks_ + panel.in_block) * tile_.pixels * kBlock;
        tile.y = products + value * out_size_ + (group * out_blocks_ + panel.block) * tile_.pixels * kBlock;
        tile.prefetch = next;
        tile.prefetch_lines = next < end ? paced : 0;
        s_.kernels->conv(tile, panel.blocks, static_cast<int>(in_group(group)));
        next += paced * panel.in_blocks * 64;
      }
    });

    ForEach(groups * out_blocks_, threads, [&](int64_t index, int) {
      const int64_t group = index / out_blocks_, block = index % out_blocks_;
      const Layout& to = output_.layout;
      WinogradOutput tile{};
      tile.value = out_size_;
      tile.v = products + index * tile_.pixels * kBlock;
      tile.bias = s_.weights->bias.as<float>() + block * kBlock;
      tile.row = to.row();
      tile.residual_row = s_.residual ? s_.residual->layout.row() : 0;
      tile.low = s_.epilogue.low;
      tile.high = s_.epilogue.high;
      for (int64_t i = 0; i < in_group(group); ++i, tile.v += kBlock) {
        const Place place = PlaceOf(first + group * tile_.pixels + i);
        tile.y = out(run) + to.at(place.n, block, place.y, place.x);
        tile.rows = static_cast<int>(std::min<int64_t>(m_, to.shape.height - place.y));
        tile.columns = static_cast<int>(std::min<int64_t>(m_, to.shape.width - place.x));
        if (s_.residual) tile.residual = run.slots[s_.residual->slot] + s_.residual->layout.at(place.n, block, place.y, place.x);
        output(tile);
        if (s_.epilogue.after == nullptr) continue;
        for (int row = 0; row < tile.rows; ++row) {
          s_.epilogue.after(tile.y + row * tile.row, tile.y + row * tile.row, static_cast<size_t>(tile.columns * kBlock));
        }
      }
    });
  }

  static constexpr float kZeros[kMostTileBlocks * kBlock] = {};

  ConvSetting s_;
  int m_;
  TileSize tile_;
  std::vector<int64_t> taps_;
  int64_t tiles_x_, tiles_y_, tiles_, values_, in_blocks_, out_blocks_;
  int64_t pass_;                 // tiles of a pass
  int64_t in_size_, out_size_;   // elements of one value of the domain, before and after the products
  int64_t panel_size_;           // of one value of the domain's weights
};

}  // namespace

int64_t WinogradPass(const ChannelGroups& channels, int m, int pixels, int64_t tiles) {
  const int64_t values = WinogradSize(m) * WinogradSize(m), tile_bytes = values * (channels.in_blocks() + channels.out_blocks()) * kBlock * 4;
  // With weights larger than the cache, reading them once for all tiles matters more than where the tiles lie.
  const int64_t weight_bytes = values * channels.in_blocks() * channels.out_blocks() / channels.groups * kBlock * kBlock * 4;
  const int64_t most = std::max(kPassBytes, weight_bytes) / tile_bytes;
  return std::min(std::max<int64_t>(most / pixels, 1) * pixels, tiles);
}

std::unique_ptr<Step> MakeWinogradConv(ConvSetting setting, int m, TileSize tile, Value output) {
  return std::make_unique<WinogradConv>(std::move(setting), m, tile, output);
}

}  // namespace repfuse
