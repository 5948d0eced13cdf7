#include "dense_rows.h"

#include "../kernels/terms/terms.h"

namespace repfuse {

DenseRows::DenseRows(ConvSetting setting, TileSize tile, const Layout& in, const Layout& out)
    : s_(std::move(setting)), tile_(tile), in_(in), out_(out) {}

void DenseRows::Store(int64_t block, float* x, float* y, int64_t pixels) const {
  if (s_.epilogue.after) s_.epilogue.after(x, x, static_cast<size_t>(pixels * kBlock));
  if (out_.terms == 0) return;
  ClearPaddedChannels(x, pixels, s_.channels.out_channels - block * kBlock, kBlock);
  s_.kernels->terms.row({x, pixels, reinterpret_cast<uint16_t*>(y), kTermBlock, 2 * out_.term()}, out_.terms);
}

std::unique_ptr<DenseRows> MakeDenseRows(ConvSetting setting, TileSize tile, const Layout& in, const Layout& out) {
  return setting.packing.method == ConvMethod::kTiles ? MakeTileRows(std::move(setting), tile, in, out)
                                                      : MakeDirectRows(std::move(setting), tile, in, out);
}

}  // namespace repfuse
