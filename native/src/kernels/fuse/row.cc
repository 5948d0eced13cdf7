#include "row.h"

#include <algorithm>

#include "rows.h"

namespace repfuse::fuse {
namespace {

constexpr int64_t kTileValues = 2048;  // 16 KiB of float64: a third of L1

}  // namespace

RowFuser::RowFuser(const FuseTask& task)
    : task_(task),
      kernels_(Kernels()),
      finish_(task.rounding == FuseRounding::kToOdd ? FuseFinishToOdd : kernels_.fuse_finish),
      patch_(task.rounding == FuseRounding::kToOdd ? FusePatchToOdd : kernels_.fuse_patch),
      long_chains_(task, kernels_),
      bias_(task) {
  ChooseSumGrid();
  int64_t channels = std::max<int64_t>(1, kTileValues / (sum_h_ * sum_w_));
  if (channels > 16) channels -= channels % 16;  // tiles begin at cache lines: stores that straddle two are slow
  tile_channels_ = std::min(channels, task.in_per_group);
}

// Pointwise branches beside one larger kernel (1x1 and identity of a RepVGG block) touch one tap of each channel: then only that
// one is summed.
void RowFuser::ChooseSumGrid() {
  sum_h_ = task_.kernel_h, sum_w_ = task_.kernel_w;
  const int64_t taps = sum_h_ * sum_w_;
  const FuseChain* base = BaseOf(0);
  const FuseChain* pointwise = nullptr;
  if (base == nullptr || taps % 2 == 0 || taps > static_cast<int64_t>(kFusePatchTaps)) return;
  for (const FuseChain& chain : task_.chains) {
    const FuseFactor& f = task_.factors[chain.factors[0]];
    if (f.out_channels != task_.out_channels) return;  // other rows have another base
    if (&chain == base) continue;
    const bool same = pointwise == nullptr || (chain.origin_h == pointwise->origin_h && chain.origin_w == pointwise->origin_w);
    if (chain.factors.size() > 1 || Taps(f) > 1 || !same) return;
    pointwise = &chain;
  }
  if (pointwise == nullptr) return;
  sum_h_ = sum_w_ = 1;
  sum_top_ = pointwise->origin_h, sum_left_ = pointwise->origin_w;
  repvgg_ = RepVggRows(task_, kernels_, patch_, *base, SumTap());
}

void RowFuser::ReadAhead(Span rows) const {
  for (const FuseChain& chain : task_.chains) {
    const FuseFactor& f = task_.factors[chain.factors[0]];
    if (chain.factors.size() > 1 || f.type != FuseType::kF32 || RowSize(f) > RowSize(task_) / 4) continue;
    const int64_t begin = std::max(rows.begin, f.out_begin) - f.out_begin, end = std::min(rows.end - f.out_begin, f.out_channels);
    if (begin < end)
      kernels_.fuse_scan(static_cast<const float*>(f.data) + begin * RowSize(f), static_cast<size_t>((end - begin) * RowSize(f)));
  }
}

bool RowFuser::ScratchSize(int64_t* doubles) const {
  if (!long_chains_.ScratchSize(doubles)) return false;
  if (!long_chains_.any()) *doubles = tile_channels_ * sum_h_ * sum_w_;
  return true;
}

// The chain that is added last, straight from its kernel's row to the result's: the last one of a kernel whose rows are laid out
// as those of the fused kernel. Null if there is none.
const FuseChain* RowFuser::BaseOf(int64_t row) const {
  const FuseChain* base = nullptr;
  for (const FuseChain& chain : task_.chains) {
    const FuseFactor& f = task_.factors[chain.factors[0]];
    const bool covers = row >= f.out_begin && row < f.out_begin + f.out_channels && RowSize(f) == RowSize(task_);
    if (chain.factors.size() == 1 && f.type == FuseType::kF32 && covers) base = &chain;
  }
  return base;
}

bool RowFuser::Finish(const FuseChain* base, int64_t row, int64_t begin, const double* sum, float* out, int64_t count) const {
  const float* w = nullptr;
  double scale = 0;
  if (base != nullptr) {
    const FuseFactor& f = task_.factors[base->factors[0]];
    w = static_cast<const float*>(f.data) + (row - f.out_begin) * RowSize(f) + begin;
    scale = ScaleAt(f, row - f.out_begin);
  }
  const int64_t taps = task_.kernel_h * task_.kernel_w;
  if (sum == nullptr || sum_h_ * sum_w_ == taps) return finish_(sum, w, scale, out, static_cast<size_t>(count));
  return patch_(sum, nullptr, 0.0, static_cast<size_t>(taps), static_cast<size_t>(SumTap()), w, scale, out,
                static_cast<size_t>(count / taps));
}

// Sums the chains of one factor but `base` over the tile of input channels `channels` (counted within the row); false if the
// tile is all zero and was left alone.
bool RowFuser::ShortChains(int64_t row, Span channels, const FuseChain* base, double* tile) const {
  const int64_t taps = sum_h_ * sum_w_, size = (channels.end - channels.begin) * taps;
  bool clear = long_chains_.any();
  for (const FuseChain& chain : task_.chains) {
    const FuseFactor& f = task_.factors[chain.factors[0]];
    if (chain.factors.size() > 1 || &chain == base || row < f.out_begin || row >= f.out_begin + f.out_channels) continue;
    const int64_t o = row - f.out_begin, own_taps = Taps(f);
    // Where the factor's first channel lies among those of the row.
    const int64_t shift = f.in_begin + o / (f.out_channels / f.groups) * f.in_per_group - RowChannels(task_, row).begin;
    const int64_t begin = std::max(channels.begin, shift), count = std::min(channels.end, shift + f.in_per_group) - begin;
    if (count <= 0) continue;
    if (!clear) std::fill_n(tile, size, 0.0);
    clear = true;
    double* acc = tile + (begin - channels.begin) * taps;
    const int64_t first = o * RowSize(f) + (begin - shift) * own_taps;
    if (own_taps == taps && f.type == FuseType::kF32) {  // then the origin is 0 and taps lie side by side
      kernels_.fuse_accumulate(acc, static_cast<const float*>(f.data) + first, ScaleAt(f, o), static_cast<size_t>(count * taps));
      continue;
    }
    acc += (chain.origin_h - sum_top_) * sum_w_ + chain.origin_w - sum_left_;
    for (int64_t u = 0; u < f.kernel_h; ++u) {
      for (int64_t v = 0; v < f.kernel_w; ++v) {
        AddTap(f, o, first + u * f.kernel_w + v, count, acc + u * f.step_h * sum_w_ + v * f.step_w);
      }
    }
  }
  return clear;
}

// Adds one tap of filter `o`, found in each of `count` channels from index `first` on, to the same tap of the tile.
void RowFuser::AddTap(const FuseFactor& f, int64_t o, int64_t first, int64_t count, double* acc) const {
  const int64_t stride = sum_h_ * sum_w_, pitch = Taps(f);
  const double scale = ScaleAt(f, o);
  if (f.type == FuseType::kF32 && pitch == 1) {
    double products[kTileValues];
    for (int64_t begin = 0; begin < count; begin += kTileValues) {
      const int64_t n = std::min(kTileValues, count - begin);
      kernels_.fuse_scale(products, static_cast<const float*>(f.data) + first + begin, scale, static_cast<size_t>(n));
      for (int64_t i = 0; i < n; ++i) acc[(begin + i) * stride] += products[i];
    }
    return;
  }
  WithReader(f, [&](auto read) {
    for (int64_t i = 0; i < count; ++i) acc[i * stride] += scale * read(first + i * pitch);
  });
}

}  // namespace repfuse::fuse
