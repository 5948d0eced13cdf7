#include "im2col.h"

#include <algorithm>

namespace repfuse {
namespace {

// A pointwise convolution sees the map as one long row.
ConvShape Simplified(ConvShape s) {
  if (s.kernel_h == 1 && s.kernel_w == 1 && s.stride_h == 1 && s.stride_w == 1 && s.pad_top == 0 && s.pad_left == 0 && s.pad_bottom == 0 &&
      s.pad_right == 0) {
    s.width *= s.height;
    s.height = 1;
  }
  return s;
}

}  // namespace

PanelPacker::PanelPacker(const ConvShape& shape, const KernelTable& kernels)
    : shape_(Simplified(shape)), pack_(kernels.pack_panel), lanes_(kernels.gemm.lanes) {
  for (int64_t v = 0; v < shape_.kernel_w; ++v) {
    inside_.emplace_back(shape_.out_width(), shape_.width, shape_.stride_w, v * shape_.dilation_w - shape_.pad_left);
  }
  const size_t taps = static_cast<size_t>(shape_.kernel_w);
  pieces_.reserve(taps * static_cast<size_t>(kernels.gemm.columns));
  ends_.reserve(taps * static_cast<size_t>(kernels.gemm.columns / kernels.gemm.lanes));
  geometry_ = {.channel_size = shape_.height * shape_.width,
               .height = shape_.height,
               .kernel_h = shape_.kernel_h,
               .kernel_w = shape_.kernel_w,
               .stride = shape_.stride_w,
               .dilation_h = shape_.dilation_h,
               .dilated_row = shape_.dilation_h * shape_.width,
               .pieces = pieces_.data(),
               .ends = ends_.data(),
               .vectors = 0,
               .columns = kernels.gemm.columns};
}

void PanelPacker::SetPixels(int64_t first, int64_t count) {
  const int64_t out_w = shape_.out_width(), first_row = first / out_w, first_column = first % out_w;
  geometry_.vectors = (count + lanes_ - 1) / lanes_;
  pieces_.clear();
  ends_.clear();
  for (int64_t v = 0; v < shape_.kernel_w; ++v) {
    int64_t oy = first_row, ox = first_column;
    for (int64_t done = 0; done < count; done += lanes_) {
      const int64_t used = std::min(count - done, lanes_);
      for (int64_t lane = 0; lane < used;) {
        const int64_t length = std::min(used - lane, out_w - ox), row = oy * shape_.stride_h - shape_.pad_top;
        const LaneRange inside = inside_[static_cast<size_t>(v)].Within(ox - lane, lane + length);
        const LaneRange lanes = {std::max(inside.begin, static_cast<int>(lane)), inside.end};
        if (lanes.begin < lanes.end) {
          const int64_t column = (ox - lane) * shape_.stride_w - shape_.pad_left + v * shape_.dilation_w;
          pieces_.push_back({row * shape_.width + column, row, lanes});
        }
        lane += length;
        ox += length;
        if (ox == out_w) {
          ox = 0;
          ++oy;
        }
      }
      ends_.push_back(static_cast<int64_t>(pieces_.size()));
    }
  }
}

void PanelPacker::Pack(const float* x, int64_t k_begin, int64_t k_end, float* panel) const {
  const int64_t taps = shape_.kernel_h * shape_.kernel_w;
  pack_(geometry_, x + k_begin / taps * geometry_.channel_size, k_begin % taps, k_end - k_begin, panel);
}

}  // namespace repfuse
