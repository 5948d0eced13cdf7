// Few rows: a dot product per output, every weight read once. Many rows: the packed product, with the rows as A and a panel of
// transposed weights as B.
#include "repfuse/linear.h"

#include <algorithm>

#include "gemm.h"
#include "repfuse/aligned_buffer.h"
#include "repfuse/checked.h"
#include "repfuse/kernels.h"
#include "repfuse/parallel.h"

namespace repfuse {
namespace {

constexpr int64_t kFewRows = 4;
constexpr int64_t kShare = 16;  // outputs of one index of the loop

void LinearByDots(const LinearShape& s, const float* x, const float* weight, const float* bias, bool relu, float* y, int threads) {
  const DotF32 dot = Kernels().dot;
  ParallelFor((s.out_features + kShare - 1) / kShare, threads, [&](int64_t share, int) {
    const int64_t end = std::min(s.out_features, (share + 1) * kShare);
    for (int64_t o = share * kShare; o < end; ++o) {
      for (int64_t n = 0; n < s.rows; ++n) {
        const float sum =
            dot(x + n * s.in_features, weight + o * s.in_features, static_cast<size_t>(s.in_features)) + (bias == nullptr ? 0.0f : bias[o]);
        y[n * s.out_features + o] = relu && sum < 0.0f ? 0.0f : sum;
      }
    }
  });
}

Status LinearByPanels(const LinearShape& s, const float* x, const float* weight, const float* bias, bool relu, float* y, int threads) {
  const KernelTable& kernels = Kernels();
  const GemmKernel& kernel = kernels.gemm;
  const int64_t panels = (s.out_features + kernel.columns - 1) / kernel.columns,
                panel_size = std::min(kernel.k_block, s.in_features) * kernel.columns;
  AlignedBuffer scratch;
  if (!scratch.Allocate(static_cast<size_t>(threads * panel_size) * sizeof(float))) return {Code::kOutOfMemory, "panels of weights"};
  ParallelFor(panels, threads, [&](int64_t panel, int slot) {
    const int64_t first = panel * kernel.columns, columns = std::min<int64_t>(kernel.columns, s.out_features - first);
    float* packed = scratch.as<float>() + slot * panel_size;
    for (int64_t n = 0; n < s.rows; ++n) {
      float* row = y + n * s.out_features + first;
      if (bias == nullptr) std::fill_n(row, columns, 0.0f);
      else std::copy_n(bias + first, columns, row);
    }
    for (int64_t k = 0; k < s.in_features; k += kernel.k_block) {
      const int64_t depth = std::min(kernel.k_block, s.in_features - k);
      for (int64_t j = 0; j < columns; ++j) {
        for (int64_t i = 0; i < depth; ++i) packed[i * kernel.columns + j] = weight[(first + j) * s.in_features + k + i];
      }
      for (int64_t n = 0; n < s.rows; n += kernel.rows) {
        kernel.run({.k = depth,
                    .a = x + n * s.in_features + k,
                    .lda = s.in_features,
                    .b = packed,
                    .c = y + n * s.out_features + first,
                    .ldc = s.out_features,
                    .rows = static_cast<int>(std::min<int64_t>(kernel.rows, s.rows - n)),
                    .columns = static_cast<int>(columns),
                    .accumulate = true,
                    .bias = nullptr,
                    .relu = relu && k + depth == s.in_features});
      }
    }
  });
  return Ok();
}

}  // namespace

Status CheckLinearShape(const LinearShape& s) {
  int64_t size;
  if (s.rows < 0 || s.in_features < 1 || s.out_features < 1 || !CheckedProduct({s.rows, s.in_features, 4}, &size) ||
      !CheckedProduct({s.rows, s.out_features, 4}, &size) || !CheckedProduct({s.in_features, s.out_features, 4}, &size)) {
    return {Code::kInvalidArgument, "a size of the layer"};
  }
  return Ok();
}

Status Linear(const LinearShape& shape, const float* x, const float* weight, const float* bias, bool relu, float* y, int threads) {
  const Status checked = CheckLinearShape(shape);
  if (!checked.ok()) return checked;
  if (shape.rows > kFewRows) return LinearByPanels(shape, x, weight, bias, relu, y, threads);
  LinearByDots(shape, x, weight, bias, relu, y, threads);
  return Ok();
}

}  // namespace repfuse
