#include <algorithm>
#include <vector>

#include "convolutions.h"

namespace repfuse {
namespace {

// Weights of one pass over the rows of a share: they stay in the L1 cache meanwhile.
constexpr int64_t kSlabBytes = 24 << 10;
// Inputs and partial sums of a share: they stay in the L2 cache between the passes.
constexpr int64_t kShareBytes = 192 << 10;
// A layer has at least so many shares where it has the rows.
constexpr int64_t kShares = 8;

class DirectConv final : public Step {
 public:
  DirectConv(ConvSetting setting, TileSize tile, Value output) : Step(output), s_(std::move(setting)), tile_(tile) {
    const Layout& in = s_.input.layout;
    const bool planar = in.form == Layout::Form::kPlanar;
    channels_ = planar ? 1 : kBlock;
    for (const Panel& panel : s_.weights->panels) planes_ = std::max(planes_, planar ? s_.channels.in_channels : panel.in_blocks);
    kernel_taps_ = s_.kernel_h * s_.kernel_w;
    for (int64_t plane = 0; plane < planes_; ++plane) {
      for (int64_t i = 0; i < s_.kernel_h; ++i) {
        for (int64_t j = 0; j < s_.kernel_w; ++j) taps_.push_back(plane * in.plane() + i * s_.dilation_h * in.row() + j * s_.dilation_w * in.pixel());
      }
    }
    const int64_t tap_bytes = channels_ * tile_.blocks * kBlock * 4;
    slab_ = std::clamp<int64_t>(kSlabBytes / (tap_bytes * kernel_taps_), 1, planes_);
    const Layout& to = output.layout;
    const int64_t row_bytes = (s_.stride_h * in.row() * slab_ + tile_.blocks * to.row()) * 4;
    rows_ = std::clamp<int64_t>(kShareBytes / row_bytes, 1, to.shape.height);
    const int64_t others = to.shape.batch * static_cast<int64_t>(s_.weights->panels.size());
    const int64_t parts = std::max((to.shape.height + rows_ - 1) / rows_, std::min(to.shape.height, (kShares + others - 1) / others));
    rows_ = (to.shape.height + parts - 1) / parts;
    parts_ = (to.shape.height + rows_ - 1) / rows_;
    by_rows_ = static_cast<int64_t>(s_.weights->weight.bytes()) < in.elements() * 4;
  }

  void Run(const RunState& run) const override {
    const int64_t panels = static_cast<int64_t>(s_.weights->panels.size()), parts = parts_ * output_.layout.shape.batch;
    ForEach(panels * parts, run.threads, [&](int64_t share, int) {
      const int64_t part = by_rows_ ? share / panels : share % parts, panel = by_rows_ ? share % panels : share / parts;
      const int64_t from = part % parts_ * rows_;
      RunShare(run, s_.weights->panels[static_cast<size_t>(panel)], part / parts_, from, std::min(output_.layout.shape.height, from + rows_));
    });
  }

  std::string kernel() const override {
    return std::string(s_.input.layout.form == Layout::Form::kPlanar ? "direct-planar " : "direct ") + std::to_string(tile_.blocks) + "x" + std::to_string(tile_.pixels);
  }

 private:
  void RunShare(const RunState& run, const Panel& panel, int64_t n, int64_t from, int64_t to) const {
    const Layout &in = s_.input.layout, &out_layout = output_.layout;
    const bool planar = in.form == Layout::Form::kPlanar;
    const int64_t planes = planar ? planes_ : panel.in_blocks, width = out_layout.shape.width;
    const float* x = run.slots[s_.input.slot] + in.at(n, planar ? 0 : panel.in_block, -s_.pad_top, -s_.pad_left);
    float* y = out(run) + out_layout.at(n, panel.block, 0, 0);
    // Of the same shape as the output, though not always of the same border.
    const Layout& other = s_.residual ? s_.residual->layout : out_layout;
    const float* residual = s_.residual ? run.slots[s_.residual->slot] + other.at(n, panel.block, 0, 0) : nullptr;
    const int64_t step = panel.blocks * kBlock;
    const float* weight = s_.weights->weight.as<float>() + panel.offset * kernel_taps_ * channels_ * (planar ? planes_ * kBlock : kBlock);
    ConvTile tile{};
    tile.channels = channels_;
    tile.pixel = s_.stride_w * in.pixel();
    tile.y_block = out_layout.plane();
    tile.residual_block = other.plane();
    tile.low = s_.epilogue.low;
    tile.high = s_.epilogue.high;
    const int64_t tiles = (to - from) * ((width + tile_.pixels - 1) / tile_.pixels);
    for (int64_t plane = 0; plane < planes; plane += slab_) {
      const int64_t slab = std::min(slab_, planes - plane);
      tile.taps = taps_.data() + plane * kernel_taps_;
      tile.tap_count = slab * kernel_taps_;
      tile.weight = weight + plane * kernel_taps_ * channels_ * step;
      tile.bias = plane == 0 ? s_.weights->bias.as<float>() + panel.block * kBlock : nullptr;
      tile.last = plane + slab == planes;
      // The next slab, or the next panel's first one, while this one runs.
      const int64_t lines = tile.tap_count * channels_ * panel.blocks;
      const char* next = reinterpret_cast<const char*>(tile.weight + tile.tap_count * channels_ * step);
      const char* const end = std::min(next + lines * 64, s_.weights->weight.as<const char>() + s_.weights->weight.bytes());
      const int64_t paced = (lines + tiles * tile.tap_count - 1) / (tiles * tile.tap_count);
      for (int64_t row = from; row < to; ++row) {
        for (int64_t column = 0; column < width; column += tile_.pixels) {
          const int pixels = static_cast<int>(std::min<int64_t>(tile_.pixels, width - column));
          tile.x = x + row * s_.stride_h * in.row() + column * tile.pixel;
          tile.y = y + row * out_layout.row() + column * kBlock;
          tile.residual = residual == nullptr ? nullptr : residual + row * other.row() + column * kBlock;
          tile.prefetch = next;
          tile.prefetch_lines = next < end ? paced : 0;
          s_.kernels->conv(tile, panel.blocks, pixels);
          next += paced * tile.tap_count * 64;
        }
        if (!tile.last || s_.epilogue.after == nullptr) continue;
        for (int block = 0; block < panel.blocks; ++block) {
          float* done = y + block * out_layout.plane() + row * out_layout.row();
          s_.epilogue.after(done, done, static_cast<size_t>(width * kBlock));
        }
      }
    }
  }

  ConvSetting s_;
  TileSize tile_;
  std::vector<int64_t> taps_;
  int64_t channels_ = kBlock, planes_ = 1, kernel_taps_ = 1;
  int64_t slab_ = 1;           // input planes of a pass
  int64_t rows_ = 1, parts_ = 1;
  // A thread takes rows of all channels, which the layers around also gave it, or all rows of some channels, whose weights no other thread
  // then reads: whichever is more.
  bool by_rows_ = false;
};

}  // namespace

std::unique_ptr<Step> MakeDirectConv(ConvSetting setting, TileSize tile, Value output) {
  return std::make_unique<DirectConv>(std::move(setting), tile, output);
}

}  // namespace repfuse
