// Direct: output rows are made in registers from the input rows under the kernel.
#include "depthwise.h"

#include <algorithm>
#include <vector>

#include "repfuse/kernels.h"
#include "repfuse/parallel.h"
#include "rows.h"

namespace repfuse {
namespace {

// Output rows [begin, end) that meet the map with the same rows of the kernel.
struct RowGroup {
  int64_t begin, end;
  OutputRange taps;
};

std::vector<RowGroup> RowGroups(const ConvShape& s, int64_t out_h) {
  std::vector<RowGroup> groups;
  for (int64_t oy = 0; oy < out_h; ++oy) {
    const OutputRange taps(s.kernel_h, s.height, s.dilation_h, oy * s.stride_h - s.pad_top);
    if (!groups.empty() && groups.back().taps == taps) groups.back().end = oy + 1;
    else groups.push_back({oy, oy + 1, taps});
  }
  return groups;
}

// [vectors of outputs][kernel_w]: the same for every row.
std::vector<LaneRange> LanesInside(const ConvShape& s, int64_t out_w, int64_t lanes) {
  std::vector<LaneRange> inside;
  for (int64_t first = 0; first < out_w; first += lanes) {
    for (int64_t v = 0; v < s.kernel_w; ++v) {
      const OutputRange range(out_w, s.width, s.stride_w, v * s.dilation_w - s.pad_left);
      inside.push_back(range.Within(first, std::min(lanes, out_w - first)));
    }
  }
  return inside;
}

}  // namespace

void DepthwiseConv2d(const ConvShape& s, const float* x, const float* weight, const float* bias, bool relu, float* y, int threads) {
  const KernelTable& kernels = Kernels();
  const int64_t out_h = s.out_height(), out_w = s.out_width(), multiplier = s.out_channels / s.groups;
  const std::vector<RowGroup> groups = RowGroups(s, out_h);
  const std::vector<LaneRange> inside = LanesInside(s, out_w, kernels.gemm.lanes);
  ParallelFor(s.batch * s.out_channels, threads, [&](int64_t plane, int) {
    const int64_t n = plane / s.out_channels, o = plane % s.out_channels;
    const float* in = x + (n * s.in_channels + o / multiplier) * s.height * s.width;
    for (const auto& [begin, end, taps] : groups) {
      kernels.depthwise_rows({.x = in + (begin * s.stride_h - s.pad_top + taps.begin * s.dilation_h) * s.width - s.pad_left,
                              .weight = weight + (o * s.kernel_h + taps.begin) * s.kernel_w,
                              .y = y + (plane * out_h + begin) * out_w,
                              .kernel_h = taps.end - taps.begin,
                              .kernel_w = s.kernel_w,
                              .out_h = end - begin,
                              .out_w = out_w,
                              .tap_row = s.dilation_h * s.width,
                              .tap_column = s.dilation_w,
                              .stride_row = s.stride_h * s.width,
                              .stride = s.stride_w,
                              .inside = inside.data(),
                              .bias = bias == nullptr ? 0.0f : bias[o],
                              .relu = relu});
    }
  });
}

}  // namespace repfuse
