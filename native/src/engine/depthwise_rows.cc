#include "depthwise_rows.h"

#include <algorithm>

#include "../kernels/blocked/depthwise_tile.h"
#include "../kernels/pool/sum_map.h"

namespace repfuse {

DepthwiseRows::DepthwiseRows(ConvSetting setting, const Layout& in, const Layout& out, int64_t ring)
    : s_(std::move(setting)), in_(in), out_(out), ring_(ring), phase_taps_((s_.kernel_h + 1) * s_.kernel_w) {
  for (int64_t phase = 0; phase < std::max<int64_t>(ring, 1); ++phase) {
    for (int64_t i = 0; i <= s_.kernel_h; ++i) {
      const int64_t row = phase + i * s_.dilation_h;
      for (int64_t j = 0; j < s_.kernel_w; ++j) taps_.push_back((ring > 0 ? row % ring : row) * in.row() + j * s_.dilation_w * kBlock);
    }
  }
  const bool slides = s_.stride_w <= 2 && s_.dilation_w == 1 && (s_.kernel_w == 3 || s_.kernel_w == 5 || s_.kernel_w == 7);
  neighbours_ = slides ? s_.kernel_w : 1;
  pixels_ = EvenPart(out.shape.width, kMaxDepthwisePixels);
  rows_ = slides && s_.stride_w == 1 && s_.stride_h == 1 && s_.dilation_h == 1 ? s_.blocked().depthwise_rows : 1;
}

void DepthwiseRows::Run(int64_t block, const float* x, float* y, const float* residual, int64_t rows, const RowSums& sums,
                        int64_t first) const {
  const int64_t taps = s_.kernel_h * s_.kernel_w, width = out_.shape.width;
  const Layout& other = s_.residual ? s_.residual->layout : out_;
  DepthwiseTile tile{.x = nullptr,
                     .taps = taps_.data(),
                     .tap_count = taps,
                     .neighbours = neighbours_,
                     .pixel = s_.stride_w * kBlock,
                     .weight = s_.weights->weight.as<float>() + block * taps * kBlock,
                     .y = nullptr,
                     .bias = s_.weights->bias.as<float>() + block * kBlock,
                     .residual = nullptr,
                     .rows = 1,
                     .y_row = out_.row(),
                     .residual_row = other.row(),
                     .low = s_.epilogue.low(),
                     .high = s_.epilogue.high()};
  for (int64_t row = 0; row < rows; row += tile.rows) {
    tile.rows = static_cast<int>(std::min<int64_t>(rows_, rows - row));
    const float* x_row = ring_ > 0 ? x : x + row * s_.stride_h * in_.row();
    if (ring_ > 0) tile.taps = taps_.data() + (first + row * s_.stride_h) % ring_ * phase_taps_;
    for (int64_t column = 0; column < width; column += pixels_) {
      tile.x = x_row + column * tile.pixel;
      tile.y = y + row * out_.row() + column * kBlock;
      tile.residual = residual == nullptr || !s_.epilogue.sums_first() ? nullptr : residual + row * other.row() + column * kBlock;
      s_.blocked().depthwise(tile, static_cast<int>(std::min(pixels_, width - column)));
    }
    if (!s_.epilogue.follows()) continue;
    for (int64_t done = row; done < row + tile.rows; ++done) {
      s_.epilogue.Finish(y + done * out_.row(), width, block, residual == nullptr ? nullptr : residual + done * other.row());
    }
  }
  if (sums.wanted()) s_.blocked().sum_rows({y, rows, width, out_.row(), sums.of(block, 0), true});
}

std::string DepthwiseRows::kernel() const { return "depthwise " + std::to_string(rows_) + "x" + std::to_string(pixels_); }

}  // namespace repfuse
