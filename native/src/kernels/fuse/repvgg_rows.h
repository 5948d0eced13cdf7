// Rows of a RepVGG block, straight from its kernels: a larger kernel (the base), one 1x1 kernel that covers the row's channels, and at most
// one identity, the latter two on one tap of the base. Two terms and the base: their order makes no difference to a bit.
#pragma once

#include "factor.h"
#include "repfuse/kernels.h"

namespace repfuse::fuse {

class RepVggRows {
 public:
  RepVggRows() = default;
  // Of a task whose chains other than `base` are pointwise, on tap `tap` of the fused kernel.
  RepVggRows(const FuseTask& task, const KernelTable& kernels, FusePatchRow patch, const FuseChain& base, int64_t tap);

  // Whether the task is such a block.
  bool fit() const { return pointwise_ != nullptr; }
  // Row `row` to `out`, which may be that of the base's kernel; whether all of it is finite.
  bool Finish(int64_t row, float* out) const;

 private:
  const FuseTask* task_ = nullptr;
  FuseScanRow scan_ = nullptr;
  FusePatchRow patch_ = nullptr;
  int64_t tap_ = 0;
  const FuseFactor* base_ = nullptr;
  const FuseFactor* pointwise_ = nullptr;
  const FuseFactor* identity_ = nullptr;
};

}  // namespace repfuse::fuse
