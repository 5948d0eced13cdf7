#include <algorithm>

#include "dense_rows.h"

namespace repfuse {
namespace {

// Weights of one pass over the rows: they stay in the L1 cache meanwhile.
constexpr int64_t kSlabBytes = 32 << 10;
// Inputs of one pass.
constexpr int64_t kSlabInputs = 256;
// Additions one after the other before their sum joins what those before have left: the error of a sum grows with the longest chain of
// additions, not with their number. Each chain costs one addition more; of one pixel, which waits for its weights, nothing, and is there as
// long as there are chains.
constexpr int64_t kChain = 128;

// Implicit im2col: the taps of a pixel are read where they lie. What is said of inputs holds for pairs of bf16, which take their place.
class DirectRows final : public DenseRows {
 public:
  DirectRows(ConvSetting setting, TileSize tile, const Layout& in, const Layout& out)
      : DenseRows(std::move(setting), tile, in, out),
        conv_(s_.packing.terms > 0 ? s_.kernels->products.pairs : s_.blocked().conv),
        channels_(in.pixel()) {
    const bool planar = in.kind == Layout::Kind::kPlanar && in.terms == 0;
    for (const Panel& panel : s_.weights->panels) planes_ = std::max(planes_, planar ? s_.channels.in_channels : panel.in_blocks);
    kernel_taps_ = s_.kernel_h * s_.kernel_w;
    for (int64_t plane = 0; plane < planes_; ++plane) {
      for (int64_t i = 0; i < s_.kernel_h; ++i) {
        for (int64_t j = 0; j < s_.kernel_w; ++j)
          taps_.push_back(plane * in.plane() + i * s_.dilation_h * in.row() + j * s_.dilation_w * in.pixel());
      }
    }
    const int64_t most = kSlabInputs / channels_;
    if (kernel_taps_ > most) slab_ = EvenPart(kernel_taps_, std::max<int64_t>(most, 1));
    else
      slab_ = kernel_taps_ * EvenPart(planes_, std::clamp<int64_t>(kSlabBytes / (channels_ * tile.blocks * kBlock * 4 * kernel_taps_), 1,
                                                                   most / kernel_taps_));
    int64_t chain = kChain;
    if (s_.one_pixel) {
      for (chain = channels_; chain * chain < planes_ * kernel_taps_ * channels_;) chain += channels_;
    }
    chain_ = EvenPart(slab_, std::max<int64_t>(chain / channels_, 1));
  }

  void Run(const DenseShare& share) const override {
    for (size_t panel = share.first_panel; panel < share.last_panel; ++panel) RunPanel(s_.weights->panels[panel], share);
  }

  int64_t scratch(int64_t rows, int64_t) const override { return out_.terms == 0 ? 0 : tile_.blocks * rows * out_.shape.width * kBlock; }
  int64_t slab() const override { return std::max<int64_t>(slab_ / kernel_taps_, 1); }
  int64_t panels_together() const override { return 1; }

  std::string kernel() const override {
    std::string name = in_.kind == Layout::Kind::kPlanar ? "direct-planar " : "direct ";
    if (s_.packing.terms > 0) name += "bf16 ";
    return name + std::to_string(tile_.blocks) + "x" + std::to_string(tile_.pixels);
  }

 private:
  void RunPanel(const Panel& panel, const DenseShare& share) const {
    const bool planar = in_.kind == Layout::Kind::kPlanar && in_.terms == 0, split = out_.terms > 0;
    const int64_t planes = planar ? planes_ : panel.in_blocks, width = out_.shape.width, rows = share.rows;
    const int64_t step = panel.blocks * kBlock;
    const float* const weights = share.weight == nullptr ? s_.weights->weight.as<float>() : share.weight;
    const float* weight = weights + panel.offset * kernel_taps_ * channels_ * (planar ? planes_ * kBlock : kBlock);
    // Sums of float32 gather where they come to lie; those of terms apart.
    const int64_t row_pitch = split ? width * kBlock : out_.row(), block_pitch = split ? rows * row_pitch : out_.plane();
    float* const sums = split ? share.scratch : share.y + out_.block(panel.block - share.block);
    const float* const x = planar ? share.x : share.x + panel.in_block * in_.plane();
    const float* const residual = share.residual == nullptr ? nullptr : share.residual + (panel.block - share.block) * other().plane();
    const float* const first = s_.epilogue.sums_first() ? residual : nullptr;  // what the tiles add
    ConvTile tile{};
    tile.chain = chain_;
    tile.pixel = s_.stride_w * in_.pixel();
    tile.y_block = block_pitch;
    tile.residual_block = other().plane();
    tile.low = s_.epilogue.low();
    tile.high = s_.epilogue.high();
    const int64_t tiles = rows * ((width + tile_.pixels - 1) / tile_.pixels);
    // Of a last block that is not full the channels that exist: what stands in the others meets weights of 0, and NaN times 0 is NaN.
    const int64_t rest = s_.channels.in_channels % kBlock, all = planes * kernel_taps_;
    const bool partial =
        in_.kind != Layout::Kind::kPlanar && in_.terms == 0 && rest != 0 && panel.in_block + panel.in_blocks == in_.blocks();
    const int64_t full = partial ? all - kernel_taps_ : all;
    for (int64_t tap = 0; tap < all; tap += tile.tap_count) {
      tile.taps = taps_.data() + tap;
      tile.tap_count = std::min(slab_, (tap < full ? full : all) - tap);
      tile.channels = tap < full ? channels_ : rest;
      tile.weight = weight + tap * channels_ * step;
      tile.weight_skip = (channels_ - tile.channels) * step;
      tile.bias = tap == 0 ? s_.weights->bias.as<float>() + panel.block * kBlock : nullptr;
      tile.last = tap + tile.tap_count == all;
      // The next slab, or the next panel's first one, while this one runs.
      const int64_t lines = tile.tap_count * channels_ * panel.blocks;
      const char* next = reinterpret_cast<const char*>(tile.weight + tile.tap_count * channels_ * step);
      const char* const end = std::min(next + lines * 64, reinterpret_cast<const char*>(weights) + s_.weights->weight.bytes());
      const int64_t paced = (lines + tiles * tile.tap_count - 1) / (tiles * tile.tap_count);
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t column = 0; column < width; column += tile_.pixels) {
          const int pixels = static_cast<int>(std::min<int64_t>(tile_.pixels, width - column));
          tile.x = x + row * s_.stride_h * in_.row() + column * tile.pixel;
          tile.y = sums + row * row_pitch + column * kBlock;
          tile.residual = first == nullptr ? nullptr : first + row * other().row() + column * kBlock;
          tile.prefetch = next;
          tile.prefetch_lines = next < end && tiles > 1 ? paced : 0;
          conv_(tile, panel.blocks, pixels);
          next += paced * tile.tap_count * 64;
        }
        if (!tile.last) continue;
        if (in_.terms == 0 && !s_.channels.regular(kBlock)) {
          Confine(panel, weight, x + row * s_.stride_h * in_.row(), first == nullptr ? nullptr : first + row * other().row(),
                  sums + row * row_pitch);
        }
        for (int64_t block = 0; block < panel.blocks; ++block) {
          float* const made = sums + block * block_pitch + row * row_pitch;
          Store(panel.block + block, made, share.y + out_.block(panel.block + block - share.block) + row * out_.row(), width,
                residual == nullptr ? nullptr : residual + block * other().plane() + row * other().row());
          AddToSums(share, panel.block + block, row, made, width, true);
        }
      }
    }
  }

  // A row of a block of outputs whose groups share blocks of inputs: each also met the other groups' inputs, with weights of 0, which made
  // NaN of infinities and of NaN. Those outputs again, by their own group's inputs alone.
  void Confine(const Panel& panel, const float* weight, const float* x, const float* residual, float* y) const {
    const int64_t lanes = std::min(kBlock, s_.channels.out_channels - panel.block * kBlock), per_group = s_.channels.in_per_group();
    for (int64_t i = 0; i < out_.shape.width * kBlock; ++i) {
      const int64_t lane = i % kBlock;
      if (y[i] == y[i] || lane >= lanes) continue;
      const int64_t first = (panel.block * kBlock + lane) / s_.channels.out_per_group() * per_group - panel.in_block * kBlock;
      double sum = s_.weights->bias.as<float>()[panel.block * kBlock + lane];
      for (int64_t channel = first; channel < first + per_group; ++channel) {
        for (int64_t tap = 0; tap < kernel_taps_; ++tap) {
          const int64_t index = channel / kBlock * kernel_taps_ + tap;
          sum += static_cast<double>(weight[(index * kBlock + channel % kBlock) * kBlock + lane]) *
                 x[i / kBlock * s_.stride_w * in_.pixel() + taps_[static_cast<size_t>(index)] + channel % kBlock];
        }
      }
      if (residual != nullptr) sum += residual[i];
      y[i] = static_cast<float>(sum < s_.epilogue.low() ? s_.epilogue.low() : sum > s_.epilogue.high() ? s_.epilogue.high() : sum);
    }
  }

  void (*conv_)(const ConvTile& tile, int blocks, int pixels);
  std::vector<int64_t> taps_;
  int64_t channels_, planes_ = 1, kernel_taps_ = 1;
  int64_t slab_ = 1, chain_ = 1;  // taps of a pass, and of a chain of additions
};

}  // namespace

std::unique_ptr<DenseRows> MakeDirectRows(ConvSetting setting, TileSize tile, const Layout& in, const Layout& out) {
  return std::make_unique<DirectRows>(std::move(setting), tile, in, out);
}

}  // namespace repfuse
