// One row of a fused kernel: what a thread does for one output channel. Chains of one factor (a convolution with its BatchNorm) are most of
// the work in practice: scale and add, tile by tile, in L1, on top of what the longer chains sum.
#pragma once

#include <algorithm>

#include "bias_terms.h"
#include "factor.h"
#include "long_chains.h"
#include "repfuse/kernels.h"
#include "repvgg_rows.h"

namespace repfuse::fuse {

class RowFuser {
 public:
  // Evaluates what the rows share: the constants of bias terms behind more than one factor.
  explicit RowFuser(const FuseTask& task);

  // Doubles of scratch that one row needs; false if their number is not representable.
  bool ScratchSize(int64_t* doubles) const;
  // Largest count of a tile.
  int64_t TileSize() const { return repvgg_.fit() ? RowSize(task_) : tile_channels_ * task_.kernel_h * task_.kernel_w; }

  // Reads what the small kernels beside the large one give to `rows` into the cache, in long runs: prefetchers keep up with those,
  // not with rows of a 1x1 kernel between rows of a 3x3 one.
  void ReadAhead(Span rows) const;

  // Bias of output channel `row`.
  double Bias(int64_t row) const { return bias_.At(row); }

  // Evaluates the row in tiles: calls store(first index in the row, finish) for each in order, where finish(out) rounds its values
  // to `out` and returns whether all of them are finite. `out` may be the row of a kernel that the row is made of: a tile
  // reads nothing before itself.
  template <typename Store>
  void Weights(int64_t row, double* scratch, const Store& store) const {
    if (repvgg_.fit()) return store(0, [&](float* out) { return repvgg_.Finish(row, out); });
    if (long_chains_.any()) long_chains_.Sum(row, scratch);
    const FuseChain* base = BaseOf(row);
    const int64_t taps = task_.kernel_h * task_.kernel_w;
    for (int64_t begin = 0; begin < task_.in_per_group; begin += tile_channels_) {
      const Span channels{begin, std::min(begin + tile_channels_, task_.in_per_group)};
      const int64_t count = (channels.end - begin) * taps;
      double* tile = long_chains_.any() ? scratch + begin * taps : scratch;
      const double* sum = ShortChains(row, channels, base, tile) ? tile : nullptr;
      store(begin * taps, [&](float* out) { return Finish(base, row, begin * taps, sum, out, count); });
    }
  }

 private:
  const FuseChain* BaseOf(int64_t row) const;
  bool ShortChains(int64_t row, Span channels, const FuseChain* base, double* tile) const;
  void AddTap(const FuseFactor& f, int64_t o, int64_t first, int64_t count, double* acc) const;
  bool Finish(const FuseChain* base, int64_t row, int64_t begin, const double* sum, float* out, int64_t count) const;
  void ChooseSumGrid();
  // The tap of the fused kernel on which the sums' first one lies.
  int64_t SumTap() const { return sum_top_ * task_.kernel_w + sum_left_; }

  const FuseTask& task_;
  const KernelTable& kernels_;
  const FuseFinishRow finish_;
  const FusePatchRow patch_;
  const LongChains long_chains_;
  const BiasTerms bias_;
  // The chains of one factor besides the base are summed on a grid of their own: the fused kernel's, or the one tap they share.
  int64_t sum_h_ = 0, sum_w_ = 0, sum_top_ = 0, sum_left_ = 0;
  int64_t tile_channels_ = 0;
  RepVggRows repvgg_;  // where these fit, nothing is summed in scratch
};

}  // namespace repfuse::fuse
