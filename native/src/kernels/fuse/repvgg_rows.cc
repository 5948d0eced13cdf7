#include "repvgg_rows.h"

#include <cmath>

namespace repfuse::fuse {
namespace {

constexpr uint32_t kInfinity = 0x7f800000;

}  // namespace

RepVggRows::RepVggRows(const FuseTask& task, const KernelTable& kernels, FusePatchRow patch, const FuseChain& base, int64_t tap)
    : task_(&task), scan_(kernels.fuse_scan), patch_(patch), tap_(tap), base_(&task.factors[base.factors[0]]) {
  const FuseFactor* pointwise = nullptr;
  for (const FuseChain& chain : task.chains) {
    const FuseFactor& f = task.factors[chain.factors[0]];
    if (&chain == &base) continue;
    const FuseFactor** slot = f.type == FuseType::kF32 ? &pointwise : &identity_;
    const bool fits = f.type == FuseType::kF32 ? f.in_per_group == task.in_per_group && f.groups == task.groups
                                               : f.type == FuseType::kConstant && f.in_per_group == 1;
    if (!fits || *slot != nullptr || f.in_begin != 0 || f.out_begin != 0) return;
    *slot = &f;
  }
  pointwise_ = pointwise;
}

// What the identity adds to is computed first: `out` may overwrite it.
bool RepVggRows::Finish(int64_t row, float* out) const {
  const FuseFactor& f = *base_;
  const int64_t taps = task_->kernel_h * task_->kernel_w, channels = task_->in_per_group;
  const float* w = static_cast<const float*>(f.data) + (row - f.out_begin) * RowSize(f);
  const float* tap_w = static_cast<const float*>(pointwise_->data) + row * channels;
  const double scale = ScaleAt(f, row - f.out_begin), tap_scale = ScaleAt(*pointwise_, row);
  const auto size = static_cast<size_t>(channels);
  const auto patch = [&] {
    return patch_(nullptr, tap_w, tap_scale, static_cast<size_t>(taps), static_cast<size_t>(tap_), w, scale, out, size);
  };
  if (identity_ == nullptr) return patch();
  const int64_t channel = row / (identity_->out_channels / identity_->groups) - RowChannels(*task_, row).begin;
  if (channel < 0 || channel >= channels) return patch();
  const double own = 0.0 + tap_scale * static_cast<double>(tap_w[channel]) + ScaleAt(*identity_, row) * identity_->value;
  const float value = Rounded(*task_, own + scale * static_cast<double>(w[channel * taps + tap_]));
  const bool finite = patch();
  out[channel * taps + tap_] = value;
  // A value that only the identity brings back into range is no overflow.
  return (finite && std::isfinite(value)) || scan_(out, size * static_cast<size_t>(taps)) < kInfinity;
}

}  // namespace repfuse::fuse
