// One row of a fused kernel: what a thread does for one output channel.
#pragma once

#include <algorithm>
#include <vector>

#include "plan.h"
#include "repfuse/kernels.h"

namespace repfuse::fuse {

class RowFuser {
 public:
  // Sizes the scratch and evaluates what the rows share: the constants of bias terms behind more than one factor.
  explicit RowFuser(const FusePlan& plan);

  // Doubles of scratch that one row needs; false if their number is not representable.
  bool ScratchSize(int64_t* doubles) const;

  // Bias of output channel `row`.
  double Bias(int64_t row) const;

  // The float64 values of the row, in tiles: calls emit(first index in the row, values, count) for each in order. A tile has
  // read all that lies under it in the row before it is emitted, and the first tile all that chains of several factors read.
  template <typename Emit>
  void Weights(int64_t row, double* scratch, const Emit& emit) const {
    double* whole = long_chains_ ? scratch : nullptr;
    if (long_chains_) LongChains(row, scratch);
    const int64_t taps = plan_.kernel_h * plan_.kernel_w;
    for (int64_t begin = 0; begin < plan_.in_per_group; begin += tile_channels_) {
      const int64_t end = std::min(begin + tile_channels_, plan_.in_per_group);
      double* tile = whole == nullptr ? scratch : whole + begin * taps;
      ShortChains(row, {begin, end}, tile, whole == nullptr);
      emit(begin * taps, tile, (end - begin) * taps);
    }
  }

 private:
  struct Coefficients;
  struct Grid;
  struct Term {  // a bias term whose constants have been carried to the input of its first factor
    const FuseFactor* factor;  // null: the constants are biases
    Span channels;
    std::vector<double> values;
  };

  void LongChains(int64_t row, double* scratch) const;
  void ShortChains(int64_t row, Span channels, double* tile, bool clear) const;
  void MeasureMiddle(const FuseChain& chain);
  static double TermRow(const Term& term, int64_t o);
  void Push(const FuseFactor& f, const Coefficients& from, const Grid& to) const;
  void Products(const FuseFactor& f, const double* c, int64_t rows, int64_t taps, int64_t index, int64_t columns, double* out) const;
  void PushConstant(const FuseFactor& f, const Coefficients& from, const Grid& to) const;

  const FusePlan& plan_;
  const KernelTable& kernels_;
  bool long_chains_ = false;
  int64_t tile_channels_ = 0;
  int64_t middle_ = 0;  // doubles of the largest map between the factors of a chain of three or more
  bool representable_ = true;
  std::vector<Term> terms_;
};

}  // namespace repfuse::fuse
