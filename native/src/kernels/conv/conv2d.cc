// The driver: weights packed once, then blocks of output pixels, each (im2col panel -> tiles of output channels).
#include "repfuse/conv.h"

#include <algorithm>

#include "../depthwise/depthwise.h"
#include "../gemm/gemm.h"
#include "im2col.h"
#include "repfuse/aligned_buffer.h"
#include "repfuse/checked.h"
#include "repfuse/kernels.h"
#include "repfuse/parallel.h"

namespace repfuse {
namespace {

constexpr int64_t kBlockPanels = 4;  // panels of one index of the loop: a weight panel in L1 serves them all

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Weights [groups][panel][k][MR] and biases [groups][panel][MR], rows past the end zero.
class PackedWeights {
 public:
  PackedWeights(const ConvShape& s, int rows)
      : rows_(rows),
        per_group_(s.out_channels / s.groups),
        k_(s.in_channels / s.groups * s.kernel_h * s.kernel_w),
        panels_(DivideUp(per_group_, rows)),
        groups_(s.groups) {}

  bool Pack(const float* weight, const float* bias, int threads) {
    const int64_t total = groups_ * panels_;
    if (!weights_.Allocate(static_cast<size_t>(total * k_ * rows_) * sizeof(float)) ||
        !biases_.Allocate(static_cast<size_t>(total * rows_) * sizeof(float))) {
      return false;
    }
    ParallelFor(total, threads, [&](int64_t index, int) {
      const int64_t group = index / panels_, first = index % panels_ * rows_;
      float* panel = weights_.as<float>() + index * k_ * rows_;
      for (int64_t r = 0; r < rows_; ++r) {
        const bool real = first + r < per_group_;
        const int64_t o = group * per_group_ + first + r;
        biases_.as<float>()[index * rows_ + r] = real && bias != nullptr ? bias[o] : 0.0f;
        const float* row = weight + o * k_;
        for (int64_t k = 0; k < k_; ++k) panel[k * rows_ + r] = real ? row[k] : 0.0f;
      }
    });
    return true;
  }

  int64_t panels() const { return panels_; }
  const float* panel(int64_t group, int64_t p, int64_t k) const { return weights_.as<float>() + ((group * panels_ + p) * k_ + k) * rows_; }
  const float* bias(int64_t group, int64_t p) const { return biases_.as<float>() + (group * panels_ + p) * rows_; }
  int rows_in(int64_t p) const { return static_cast<int>(std::min<int64_t>(rows_, per_group_ - p * rows_)); }

 private:
  int64_t rows_, per_group_, k_, panels_, groups_;
  AlignedBuffer weights_, biases_;
};

Status GemmConv2d(const ConvShape& s, const float* x, const float* weight, const float* bias, bool relu, float* y, int threads) {
  const GemmKernel& kernel = Kernels().gemm;
  const int64_t k_total = s.in_channels / s.groups * s.kernel_h * s.kernel_w;
  const int64_t pixels = s.out_height() * s.out_width(), panels = DivideUp(pixels, kernel.columns);
  const int64_t per_group = s.out_channels / s.groups;
  PackedWeights weights(s, kernel.rows);
  if (!weights.Pack(weight, bias, threads)) return {Code::kOutOfMemory, "packed weights"};

  // Small maps are also split by output channels, so that every thread has work; reductions stay whole.
  const int64_t block_panels = std::clamp<int64_t>(s.batch * s.groups * panels / (2 * threads), 1, kBlockPanels);
  const int64_t blocks = DivideUp(panels, block_panels), tasks = s.batch * s.groups * blocks;
  const int64_t splits = std::clamp<int64_t>(DivideUp(2 * threads, tasks), 1, weights.panels());
  const int64_t split_panels = DivideUp(weights.panels(), splits);

  const int64_t panel_size = kernel.k_block * kernel.columns;
  AlignedBuffer scratch;
  if (!scratch.Allocate(static_cast<size_t>(threads * block_panels * panel_size) * sizeof(float))) return {Code::kOutOfMemory, "im2col panels"};
  std::vector<std::vector<PanelPacker>> packers(static_cast<size_t>(threads), std::vector<PanelPacker>(static_cast<size_t>(block_panels), PanelPacker(s, kernel.columns)));

  ParallelFor(tasks * splits, threads, [&](int64_t index, int slot) {
    const int64_t task = index / splits, split = index % splits;
    const int64_t block = task % blocks, group = task / blocks % s.groups, n = task / blocks / s.groups;
    const int64_t first_panel = block * block_panels, last_panel = std::min(panels, first_panel + block_panels);
    const int64_t first_rows = split * split_panels, last_rows = std::min(weights.panels(), first_rows + split_panels);
    const float* in = x + (n * s.in_channels + group * (s.in_channels / s.groups)) * s.height * s.width;
    float* out = y + (n * s.out_channels + group * per_group) * pixels;
    float* packed = scratch.as<float>() + slot * block_panels * panel_size;
    std::vector<PanelPacker>& packer = packers[static_cast<size_t>(slot)];
    const auto columns_in = [&](int64_t panel) { return static_cast<int>(std::min<int64_t>(kernel.columns, pixels - panel * kernel.columns)); };
    for (int64_t p = first_panel; p < last_panel; ++p) packer[static_cast<size_t>(p - first_panel)].SetPixels(p * kernel.columns, columns_in(p));
    for (int64_t k = 0; k < k_total; k += kernel.k_block) {
      const int64_t k_end = std::min(k_total, k + kernel.k_block);
      for (int64_t p = first_panel; p < last_panel; ++p) packer[static_cast<size_t>(p - first_panel)].Pack(in, k, k_end, packed + (p - first_panel) * panel_size);
      for (int64_t m = first_rows; m < last_rows; ++m) {
        for (int64_t p = first_panel; p < last_panel; ++p) {
          kernel.run({.k = k_end - k,
                      .a = weights.panel(group, m, k),
                      .b = packed + (p - first_panel) * panel_size,
                      .c = out + m * kernel.rows * pixels + p * kernel.columns,
                      .ldc = pixels,
                      .rows = weights.rows_in(m),
                      .columns = columns_in(p),
                      .start = k == 0 ? weights.bias(group, m) : nullptr,
                      .relu = relu && k_end == k_total});
        }
      }
    }
  });
  return Ok();
}

}  // namespace

Status CheckConvShape(const ConvShape& s) {
  constexpr int64_t kMax = int64_t{1} << 31;
  for (int64_t dim : {s.batch, s.in_channels, s.height, s.width, s.out_channels, s.kernel_h, s.kernel_w, s.stride_h, s.stride_w, s.dilation_h,
                      s.dilation_w, s.groups}) {
    if (dim < 1 || dim > kMax) return {Code::kInvalidArgument, "a size of the convolution"};
  }
  for (int64_t pad : {s.pad_top, s.pad_left, s.pad_bottom, s.pad_right}) {
    if (pad < -kMax || pad > kMax) return {Code::kInvalidArgument, "padding"};
  }
  int64_t size, reach_h, reach_w;
  if (s.in_channels % s.groups != 0 || s.out_channels % s.groups != 0) return {Code::kInvalidArgument, "groups"};
  if (!CheckedProduct({s.dilation_h, s.kernel_h}, &reach_h) || !CheckedProduct({s.dilation_w, s.kernel_w}, &reach_w) ||
      s.out_height() < 1 || s.out_width() < 1) {
    return {Code::kInvalidArgument, "the kernel does not fit the padded input"};
  }
  if (!CheckedProduct({s.batch, s.in_channels, s.height, s.width, 4}, &size) ||
      !CheckedProduct({s.out_channels, s.in_channels / s.groups, s.kernel_h, s.kernel_w, 64}, &size) ||
      !CheckedProduct({s.batch, s.out_channels, s.out_height(), s.out_width(), 4}, &size)) {
    return {Code::kInvalidArgument, "element count"};
  }
  return Ok();
}

Status Conv2d(const ConvShape& shape, const float* x, const float* weight, const float* bias, bool relu, float* y, int threads) {
  const Status checked = CheckConvShape(shape);
  if (!checked.ok()) return checked;
  if (shape.in_channels == shape.groups) {
    DepthwiseConv2d(shape, x, weight, bias, relu, y, threads);
    return Ok();
  }
  return GemmConv2d(shape, x, weight, bias, relu, y, threads);
}

}  // namespace repfuse
