#include "im2col.h"

#include <algorithm>
#include <cstring>

namespace repfuse {

PanelPacker::PanelPacker(const ConvShape& shape, int columns) : shape_(shape), columns_(columns) {
  const bool pointwise = shape.kernel_h == 1 && shape.kernel_w == 1 && shape.stride_h == 1 && shape.stride_w == 1 && shape.pad_top == 0 &&
                         shape.pad_left == 0 && shape.pad_bottom == 0 && shape.pad_right == 0;
  if (pointwise) {  // the map is one long row
    shape_.width *= shape_.height;
    shape_.height = 1;
  }
}

void PanelPacker::SetPixels(int64_t first, int64_t count) {
  const int64_t out_w = shape_.out_width();
  runs_.clear();
  used_ = count;
  for (int64_t column = 0; column < count;) {
    const int64_t pixel = first + column, oy = pixel / out_w, ox = pixel % out_w;
    const int64_t length = std::min(count - column, out_w - ox);
    runs_.push_back({column, length, oy * shape_.stride_h - shape_.pad_top, ox * shape_.stride_w - shape_.pad_left});
    column += length;
  }
}

void PanelPacker::PackTap(const float* plane, int64_t u, int64_t v, float* out) const {
  const int64_t width = shape_.width, stride = shape_.stride_w;
  for (const Run& run : runs_) {
    float* to = out + run.column;
    const int64_t iy = run.row + u * shape_.dilation_h;
    if (iy < 0 || iy >= shape_.height) {
      std::fill_n(to, run.count, 0.0f);
      continue;
    }
    const float* from = plane + iy * width;
    int64_t ix = run.first + v * shape_.dilation_w;
    int64_t i = 0;
    for (; i < run.count && ix < 0; ++i, ix += stride) to[i] = 0.0f;
    if (ix < width) {
      const int64_t inside = std::min(run.count - i, (width - 1 - ix) / stride + 1);
      if (stride == 1) {
        std::memcpy(to + i, from + ix, static_cast<size_t>(inside) * sizeof(float));
      } else {
        for (int64_t j = 0; j < inside; ++j) to[i + j] = from[ix + j * stride];
      }
      i += inside;
    }
    for (; i < run.count; ++i) to[i] = 0.0f;
  }
  std::fill(out + used_, out + columns_, 0.0f);
}

void PanelPacker::Pack(const float* x, int64_t k_begin, int64_t k_end, float* panel) const {
  const int64_t taps = shape_.kernel_h * shape_.kernel_w, plane = shape_.height * shape_.width;
  for (int64_t k = k_begin; k < k_end; ++k, panel += columns_) {
    const int64_t tap = k % taps;
    PackTap(x + k / taps * plane, tap / shape_.kernel_w, tap % shape_.kernel_w, panel);
  }
}

}  // namespace repfuse
