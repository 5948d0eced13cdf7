#include "repfuse/pool.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "repfuse/checked.h"
#include "repfuse/parallel.h"

namespace repfuse {
namespace {

// Every step-th index from begin, before end.
struct Window {
  int64_t begin, end;  // inside the map
  int64_t step;
  int64_t padded;  // how many are inside the padded map

  int64_t count() const { return end <= begin ? 0 : (end - begin + step - 1) / step; }
};

Window WindowAt(int64_t out, int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t before, int64_t after) {
  const int64_t begin = out * stride - before, end = std::min(begin + (kernel - 1) * dilation + 1, size + after);
  const int64_t inside = begin < 0 ? begin + (dilation - 1 - begin) / dilation * dilation : begin;
  return {inside, std::min(end, size), dilation, (end - begin + dilation - 1) / dilation};
}

template <typename Body>
void ForWindows(const PoolShape& s, float* y, int threads, const Body& body) {
  ParallelFor(s.planes, threads, [&](int64_t plane, int) {
    float* out = y + plane * s.out_height * s.out_width;
    for (int64_t oy = 0; oy < s.out_height; ++oy) {
      const Window rows = WindowAt(oy, s.height, s.kernel_h, s.stride_h, s.dilation_h, s.pad_top, s.pad_bottom);
      for (int64_t ox = 0; ox < s.out_width; ++ox) {
        *out++ = body(plane, rows, WindowAt(ox, s.width, s.kernel_w, s.stride_w, s.dilation_w, s.pad_left, s.pad_right));
      }
    }
  });
}

}  // namespace

Status CheckPoolShape(const PoolShape& s) {
  constexpr int64_t kMax = int64_t{1} << 31;
  for (int64_t dim : {s.planes, s.height, s.width, s.kernel_h, s.kernel_w, s.stride_h, s.stride_w, s.dilation_h, s.dilation_w, s.out_height,
                      s.out_width}) {
    if (dim < 1 || dim > kMax) return {Code::kInvalidArgument, "a size of the pooling"};
  }
  for (int64_t pad : {s.pad_top, s.pad_left, s.pad_bottom, s.pad_right}) {
    if (pad < 0 || pad > kMax) return {Code::kInvalidArgument, "padding"};
  }
  // Every window must begin inside the map or its left padding.
  if ((s.out_height - 1) * s.stride_h - s.pad_top >= s.height || (s.out_width - 1) * s.stride_w - s.pad_left >= s.width) {
    return {Code::kInvalidArgument, "output size"};
  }
  int64_t size;
  if (!CheckedProduct({s.planes, s.height, s.width, 4}, &size) || !CheckedProduct({s.planes, s.out_height, s.out_width, 4}, &size)) {
    return {Code::kInvalidArgument, "element count"};
  }
  return Ok();
}

Status MaxPool2d(const PoolShape& s, const float* x, float* y, int threads) {
  const Status checked = CheckPoolShape(s);
  if (!checked.ok()) return checked;
  ForWindows(s, y, threads, [&](int64_t plane, const Window& rows, const Window& columns) {
    float largest = -std::numeric_limits<float>::infinity();
    for (int64_t iy = rows.begin; iy < rows.end; iy += rows.step) {
      const float* row = x + (plane * s.height + iy) * s.width;
      for (int64_t ix = columns.begin; ix < columns.end; ix += columns.step) {
        if (row[ix] > largest || std::isnan(row[ix])) largest = row[ix];  // NaN wins and stays, as in PyTorch
      }
    }
    return largest;
  });
  return Ok();
}

Status AveragePool2d(const PoolShape& s, AverageDivisor divisor, const float* x, float* y, int threads) {
  const Status checked = CheckPoolShape(s);
  if (!checked.ok()) return checked;
  ForWindows(s, y, threads, [&](int64_t plane, const Window& rows, const Window& columns) {
    double sum = 0;
    for (int64_t iy = rows.begin; iy < rows.end; iy += rows.step) {
      const float* row = x + (plane * s.height + iy) * s.width;
      for (int64_t ix = columns.begin; ix < columns.end; ix += columns.step) sum += row[ix];
    }
    int64_t count = divisor.override_value;
    if (count == 0) {
      count = divisor.count_include_pad ? rows.padded * columns.padded : rows.count() * columns.count();
    }
    return static_cast<float>(sum / static_cast<double>(count));
  });
  return Ok();
}

Status GlobalAveragePool(int64_t planes, int64_t size, const float* x, float* y, int threads) {
  if (planes < 1 || size < 1) return {Code::kInvalidArgument, "a size of the pooling"};
  ParallelFor(planes, threads, [&](int64_t plane, int) {
    double sum = 0;
    for (int64_t i = 0; i < size; ++i) sum += x[plane * size + i];
    y[plane] = static_cast<float>(sum / static_cast<double>(size));
  });
  return Ok();
}

}  // namespace repfuse
