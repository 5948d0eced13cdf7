#include "dense_rows.h"

#include <algorithm>
#include <cstring>

#include "../kernels/pool/sum_map.h"
#include "../kernels/terms/terms.h"

namespace repfuse {

DenseRows::DenseRows(ConvSetting setting, TileSize tile, const Layout& in, const Layout& out)
    : s_(std::move(setting)), tile_(tile), in_(in), out_(out) {}

void DenseRows::Store(int64_t block, float* x, float* y, int64_t pixels, const float* residual) const {
  if (s_.epilogue.follows()) s_.epilogue.Finish(x, pixels, block, residual);
  if (out_.terms == 0) return;
  ClearPaddedChannels(x, pixels, s_.channels.out_channels - block * kBlock, kBlock);
  s_.kernels->terms.row({x, pixels, reinterpret_cast<uint16_t*>(y), kTermBlock, 2 * out_.term()}, out_.terms);
}

void DenseRows::AddToSums(const DenseShare& share, int64_t block, int64_t row, const float* x, int64_t pixels, bool first) const {
  if (share.sums.wanted()) s_.blocked().sum_rows({x, 1, pixels, 0, share.sums.of(block, row), first});
}

Layout RowsInCache(int64_t channels, int64_t width, int64_t rows, int64_t bytes) {
  Layout layout{.kind = Layout::Kind::kBlocked, .shape = {1, channels, 1, width}};
  layout.shape.height = EvenPart(rows, std::max<int64_t>(bytes / (layout.elements() * 4), 1));
  return layout;
}

void SplitRows(const TermKernels& kernels, const Layout& from, float* x, const Layout& to, float* terms, int64_t rows) {
  if (from.blocks() % 2 == 1) std::memset(terms, 0, static_cast<size_t>(to.elements()) * sizeof(float));
  const int64_t last = from.blocks() - 1, pixels = rows * from.shape.width;
  ClearPaddedChannels(x + from.block(last), pixels, from.shape.channels - last * kBlock, kBlock);
  for (int64_t block = 0; block < from.blocks(); ++block) {
    auto* y = reinterpret_cast<uint16_t*>(terms + to.block(block));
    kernels.row({x + from.block(block), pixels, y, kTermBlock, 2 * to.term()}, to.terms);
  }
}

std::unique_ptr<DenseRows> MakeDenseRows(ConvSetting setting, TileSize tile, const Layout& in, const Layout& out) {
  return setting.packing.method == ConvMethod::kTiles ? MakeTileRows(std::move(setting), tile, in, out)
                                                      : MakeDirectRows(std::move(setting), tile, in, out);
}

}  // namespace repfuse
