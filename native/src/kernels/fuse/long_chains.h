// Chains of two factors and more, row by row. A row of a chain K0 K1 ... Kn is the unit functional on one output channel, pulled back
// through the factors: the coefficients over the channels and window of the map behind K0 are K0's row itself; each further factor turns
// coefficients into those of the map behind it, and the last one adds coefficient times weight to the row.
#pragma once

#include "factor.h"
#include "repfuse/kernels.h"

namespace repfuse::fuse {

class LongChains {
 public:
  LongChains(const FuseTask& task, const KernelTable& kernels);

  bool any() const { return any_; }
  // Doubles of scratch that one row needs; false if their number is not representable.
  bool ScratchSize(int64_t* doubles) const;
  // Their sum in row `row`, to the first RowSize(task) doubles of `scratch`.
  void Sum(int64_t row, double* scratch) const;

 private:
  struct Coefficients;
  struct Grid;

  void MeasureMiddle(const FuseChain& chain);
  void Push(const FuseFactor& f, const Coefficients& from, const Grid& to) const;
  void Products(const FuseFactor& f, const double* c, int64_t rows, int64_t taps, int64_t index, int64_t columns, double* out) const;
  static void PushConstant(const FuseFactor& f, const Coefficients& from, const Grid& to);

  const FuseTask& task_;
  const KernelTable& kernels_;
  bool any_ = false;
  int64_t middle_ = 0;  // doubles of the largest map between the factors of a chain of three or more
  bool representable_ = true;
};

}  // namespace repfuse::fuse
