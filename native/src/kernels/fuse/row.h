// One row of a fused kernel: what a thread does for one output channel.
#pragma once

#include <algorithm>
#include <vector>

#include "../half/half.h"
#include "plan.h"
#include "repfuse/kernels.h"

namespace repfuse::fuse {

class RowFuser {
 public:
  // Evaluates what the rows share: the constants of bias terms behind more than one factor.
  explicit RowFuser(const FusePlan& plan);

  // Doubles of scratch that one row needs; false if their number is not representable.
  bool ScratchSize(int64_t* doubles) const;
  // Largest count of a tile.
  int64_t TileSize() const { return pointwise_ != nullptr ? RowSize(plan_) : tile_channels_ * plan_.kernel_h * plan_.kernel_w; }

  // Reads what the small kernels beside the large one give to `rows` into the cache, in long runs: prefetchers keep up with those,
  // not with rows of a 1x1 kernel between rows of a 3x3 one.
  void ReadAhead(Span rows) const;

  // Bias of output channel `row`.
  double Bias(int64_t row) const;

  // To float32, as the plan wants it.
  float Round(double value) const { return plan_.rounding == FuseRounding::kNearest ? static_cast<float>(value) : RoundToOdd(value); }

  // Evaluates the row in tiles: calls store(first index in the row, finish) for each in order, where finish(out) rounds its values
  // to `out` and returns whether all of them are finite. `out` may be the row of a kernel that the row is made of: a tile
  // reads nothing before itself.
  template <typename Store>
  void Weights(int64_t row, double* scratch, const Store& store) const {
    if (long_chains_) LongChains(row, scratch);
    const FuseChain* base = BaseOf(row);
    if (pointwise_ != nullptr) return store(0, [&](float* out) { return FinishPointwise(*base, row, out); });
    const int64_t taps = plan_.kernel_h * plan_.kernel_w;
    for (int64_t begin = 0; begin < plan_.in_per_group; begin += tile_channels_) {
      const Span channels{begin, std::min(begin + tile_channels_, plan_.in_per_group)};
      const int64_t count = (channels.end - begin) * taps;
      double* tile = long_chains_ ? scratch + begin * taps : scratch;
      const double* sum = ShortChains(row, channels, base, tile) ? tile : nullptr;
      store(begin * taps, [&](float* out) { return Finish(base, row, begin * taps, sum, out, count); });
    }
  }

 private:
  struct Coefficients;
  struct Grid;
  struct Term {                // the constants of a bias, on the channels of the map before `factor`
    const FuseFactor* factor;  // null: on the output
    Span channels;
    std::vector<double> values;
  };

  void LongChains(int64_t row, double* scratch) const;
  const FuseChain* BaseOf(int64_t row) const;
  bool ShortChains(int64_t row, Span channels, const FuseChain* base, double* tile) const;
  void AddTap(const FuseFactor& f, int64_t o, int64_t first, int64_t count, double* acc) const;
  bool Finish(const FuseChain* base, int64_t row, int64_t begin, const double* sum, float* out, int64_t count) const;
  bool FinishPointwise(const FuseChain& base, int64_t row, float* out) const;
  void ChooseSumGrid();
  void ChoosePointwise();
  void MeasureMiddle(const FuseChain& chain);
  Term CarryTerm(const FuseBias& bias) const;
  static double TermRow(const Term& term, int64_t o);
  void Push(const FuseFactor& f, const Coefficients& from, const Grid& to) const;
  void Products(const FuseFactor& f, const double* c, int64_t rows, int64_t taps, int64_t index, int64_t columns, double* out) const;
  void PushConstant(const FuseFactor& f, const Coefficients& from, const Grid& to) const;

  const FusePlan& plan_;
  const KernelTable& kernels_;
  FuseFinishRow finish_;
  FusePatchRow patch_;
  bool long_chains_ = false;
  int64_t tile_channels_ = 0;
  // The chains of one factor besides the base are summed on a grid of their own: the fused kernel's, or the one tap they share.
  int64_t sum_h_ = 0, sum_w_ = 0, sum_top_ = 0, sum_left_ = 0;
  // The one 1x1 kernel beside the base, and the one identity: then nothing is summed in scratch.
  const FuseFactor* pointwise_ = nullptr;
  const FuseFactor* identity_ = nullptr;
  int64_t middle_ = 0;  // doubles of the largest map between the factors of a chain of three or more
  bool representable_ = true;
  std::vector<Term> terms_;
};

}  // namespace repfuse::fuse
