#include <algorithm>

#include "../kernels/blocked/finish_row.h"
#include "../kernels/tiles/matrix_tile.h"
#include "dense_rows.h"

namespace repfuse {
namespace {

// Inputs of one pair of tiles, which the panels of a share read one after the other: they stay in the L1 cache meanwhile.
constexpr int64_t kInputBytes = 24 << 10;
// Weights of a share, which its pairs of tiles read one after the other: they stay in the L2 cache meanwhile.
constexpr int64_t kWeightBytes = 768 << 10;

// Rows in pairs of matrix tiles, each of up to 16 pixels of a row. Loops, outermost first: slabs of input channels, pairs of tiles, panels.
// Of the four operands of a step two thus come from the L1 cache; sums wait in scratch from slab to slab.
class TileRows final : public DenseRows {
 public:
  TileRows(ConvSetting setting, TileSize tile, const Layout& in, const Layout& out) : DenseRows(std::move(setting), tile, in, out) {
    const int64_t taps = s_.packing.row_taps;
    pairs_ = taps * in.lanes() / 2;
    for (const Panel& panel : s_.weights->panels) planes_ = std::max(planes_, panel.in_blocks);
    for (int64_t plane = 0; plane < planes_; ++plane) {
      for (int64_t i = 0; i < s_.kernel_h; ++i) {
        for (int64_t j = 0; j < s_.kernel_w; j += taps) {
          steps_.push_back(2 * (plane * in.plane() + i * s_.dilation_h * in.row() + j * s_.dilation_w * in.pixel()));
        }
      }
    }
    plane_steps_ = static_cast<int64_t>(steps_.size()) / planes_;
    const int64_t pair_bytes = 2 * s_.kernel_h * (tile.pixels * s_.stride_w + s_.kernel_w) * in.pixel() * 4 * s_.packing.terms;
    slab_ = EvenPart(planes_, std::max<int64_t>(kInputBytes / pair_bytes, 1));
    panels_together_ = std::max<int64_t>(kWeightBytes / (planes_ * plane_steps_ * StepWeights(tile.blocks) * 2), 1);
    row_tiles_ = (out.shape.width + tile.pixels - 1) / tile.pixels;
  }

  void Run(const DenseShare& share) const override {
    const TileKernels& kernels = s_.kernels->products.tiles;
    const int64_t tiles = share.rows * row_tiles_, pairs = (tiles + 1) / 2,
                  panels = static_cast<int64_t>(share.last_panel - share.first_panel);
    MatrixTile tile{};
    tile.x_term = 2 * in_.term();
    tile.pixel = s_.stride_w * in_.pixel() * 4;
    kernels.configure(tile_.pixels, static_cast<int>(pairs_));
    for (int64_t plane = 0; plane < planes_; plane += slab_) {
      for (int64_t pair = 0; pair < pairs; ++pair) {
        const int rows = static_cast<int>(std::min<int64_t>(2, tiles - 2 * pair));
        for (int64_t i = 0; i < panels; ++i) {
          const Panel& panel = s_.weights->panels[share.first_panel + static_cast<size_t>(i)];
          const int64_t slab = std::min(slab_, panel.in_blocks - plane);
          if (slab <= 0) continue;  // a panel of fewer inputs has been left already
          for (int row = 0; row < rows; ++row) tile.x[row] = InputsOf(share, panel, 2 * pair + row);
          tile.steps = steps_.data() + plane * plane_steps_;
          tile.step_count = slab * plane_steps_;
          const int64_t step = StepWeights(panel.blocks), block = plane_steps_ * step;
          tile.weight = s_.weights->weight.as<uint16_t>() + panel.offset * plane_steps_ * StepWeights(1) + plane * block;
          tile.weight_term = step / s_.packing.terms;
          // Kept from slab to slab, if there are several.
          tile.sums = share.scratch + (planes_ <= slab_ ? 0 : (pair * panels + i) * SumsOfPair());
          tile.bias = plane == 0 ? s_.weights->bias.as<float>() + panel.block * kBlock : nullptr;
          Prefetch(slab * block, pair, pairs, &tile);
          kernels.run(tile, rows, panel.blocks, s_.packing.terms);
          if (plane + slab < panel.in_blocks) continue;
          for (int row = 0; row < rows; ++row) StoreTile(share, panel, 2 * pair + row, tile.sums + row * panel.blocks * kMatrixSums);
        }
      }
    }
    kernels.release();
  }

  int64_t scratch(int64_t rows, int64_t panels) const override {
    return planes_ <= slab_ ? SumsOfPair() : (rows * row_tiles_ + 1) / 2 * panels * SumsOfPair();
  }
  int64_t slab() const override { return slab_; }
  int64_t panels_together() const override { return panels_together_; }

  std::string kernel() const override {
    std::string name = in_.kind == Layout::Kind::kPlanar ? "tiles-planar bf16" : "tiles bf16";
    if (s_.packing.terms > 1) name.append("x").append(std::to_string(kProductCounts[s_.packing.terms - 1]));
    return name + " 2x" + std::to_string(tile_.pixels);
  }

 private:
  int64_t SumsOfPair() const { return 2 * tile_.blocks * kMatrixSums; }
  // bf16 elements of a step, for so many blocks of output channels.
  int64_t StepWeights(int64_t blocks) const { return s_.packing.terms * pairs_ * blocks * 2 * kBlock; }

  const uint16_t* InputsOf(const DenseShare& share, const Panel& panel, int64_t index) const {
    const int64_t row = index / row_tiles_, column = index % row_tiles_ * tile_.pixels;
    return reinterpret_cast<const uint16_t*>(share.x + panel.in_block * in_.plane() + row * s_.stride_h * in_.row() +
                                             column * s_.stride_w * in_.pixel());
  }

  // Of the weights that follow in memory (the next slab's, or the next panel's), as many as a pair's part.
  void Prefetch(int64_t elements, int64_t pair, int64_t pairs, MatrixTile* tile) const {
    const int64_t lines = elements * 2 / 64, part = (lines + pairs - 1) / pairs;
    tile->prefetch = reinterpret_cast<const char*>(tile->weight + elements) + pair * part * 64;
    tile->prefetch_lines = (part + tile->step_count - 1) / tile->step_count;
    const char* const end = s_.weights->weight.as<const char>() + s_.weights->weight.bytes();
    if (tile->prefetch + tile->prefetch_lines * tile->step_count * 64 > end) tile->prefetch_lines = 0;
  }

  // sums: [block][16 pixels][16] of one tile.
  void StoreTile(const DenseShare& share, const Panel& panel, int64_t index, float* sums) const {
    const int64_t row = index / row_tiles_, column = index % row_tiles_ * tile_.pixels,
                  pixels = std::min<int64_t>(tile_.pixels, out_.shape.width - column);
    for (int64_t i = 0; i < panel.blocks; ++i, sums += kMatrixSums) {
      const int64_t block = panel.block + i;
      float* const y = share.y + out_.block(block - share.block) + row * out_.row() + column * out_.pixel();
      float* const finished = out_.terms == 0 ? y : sums;
      const float* residual = share.residual == nullptr
                                  ? nullptr
                                  : share.residual + (block - share.block) * other().plane() + row * other().row() + column * kBlock;
      s_.blocked().finish(
          {sums, s_.epilogue.sums_first() ? residual : nullptr, finished, pixels * kBlock, s_.epilogue.low(), s_.epilogue.high()});
      Store(block, finished, y, pixels, residual);
      AddToSums(share, block, row, finished, pixels, column == 0);
    }
  }

  std::vector<int64_t> steps_;
  int64_t pairs_, planes_ = 1, plane_steps_ = 1, slab_ = 1, panels_together_ = 1, row_tiles_ = 1;
};

}  // namespace

std::unique_ptr<DenseRows> MakeTileRows(ConvSetting setting, TileSize tile, const Layout& in, const Layout& out) {
  return std::make_unique<TileRows>(std::move(setting), tile, in, out);
}

}  // namespace repfuse
