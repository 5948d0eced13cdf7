#include "conv_rows.h"

#include <algorithm>

#include "../kernels/blocked/depthwise_tile.h"

namespace repfuse {
namespace {

// Weights of one pass over the rows.
constexpr int64_t kSlabBytes = 32 << 10;

}  // namespace

DirectRows::DirectRows(ConvSetting setting, TileSize tile, const Layout& in, const Layout& out)
    : s_(std::move(setting)), tile_(tile), in_(in), out_(out) {
  const bool planar = in.form == Layout::Form::kPlanar;
  channels_ = planar ? 1 : kBlock;
  for (const Panel& panel : s_.weights->panels) planes_ = std::max(planes_, planar ? s_.channels.in_channels : panel.in_blocks);
  kernel_taps_ = s_.kernel_h * s_.kernel_w;
  for (int64_t plane = 0; plane < planes_; ++plane) {
    for (int64_t i = 0; i < s_.kernel_h; ++i) {
      for (int64_t j = 0; j < s_.kernel_w; ++j) taps_.push_back(plane * in.plane() + i * s_.dilation_h * in.row() + j * s_.dilation_w * in.pixel());
    }
  }
  const int64_t tap_bytes = channels_ * tile_.blocks * kBlock * 4;
  slab_ = EvenPart(planes_, std::max<int64_t>(kSlabBytes / (tap_bytes * kernel_taps_), 1));
}

void DirectRows::Run(const Panel& panel, const float* x, float* y, const float* residual, int64_t rows) const {
  const bool planar = in_.form == Layout::Form::kPlanar;
  const int64_t planes = planar ? planes_ : panel.in_blocks, width = out_.shape.width;
  // Of the same shape as the output, though not always of the same border.
  const Layout& other = s_.residual ? s_.residual->layout : out_;
  const int64_t step = panel.blocks * kBlock;
  const float* weight = s_.weights->weight.as<float>() + panel.offset * kernel_taps_ * channels_ * (planar ? planes_ * kBlock : kBlock);
  ConvTile tile{};
  tile.channels = channels_;
  tile.pixel = s_.stride_w * in_.pixel();
  tile.y_block = out_.plane();
  tile.residual_block = other.plane();
  tile.low = s_.epilogue.low;
  tile.high = s_.epilogue.high;
  const int64_t tiles = rows * ((width + tile_.pixels - 1) / tile_.pixels);
  for (int64_t plane = 0; plane < planes; plane += slab_) {
    const int64_t slab = std::min(slab_, planes - plane);
    tile.taps = taps_.data() + plane * kernel_taps_;
    tile.tap_count = slab * kernel_taps_;
    tile.weight = weight + plane * kernel_taps_ * channels_ * step;
    tile.bias = plane == 0 ? s_.weights->bias.as<float>() + panel.block * kBlock : nullptr;
    tile.last = plane + slab == planes;
    // The next slab, or the next panel's first one, while this one runs.
    const int64_t lines = tile.tap_count * channels_ * panel.blocks;
    const char* next = reinterpret_cast<const char*>(tile.weight + tile.tap_count * channels_ * step);
    const char* const end = std::min(next + lines * 64, s_.weights->weight.as<const char>() + s_.weights->weight.bytes());
    const int64_t paced = (lines + tiles * tile.tap_count - 1) / (tiles * tile.tap_count);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < width; column += tile_.pixels) {
        const int pixels = static_cast<int>(std::min<int64_t>(tile_.pixels, width - column));
        tile.x = x + row * s_.stride_h * in_.row() + column * tile.pixel;
        tile.y = y + row * out_.row() + column * kBlock;
        tile.residual = residual == nullptr ? nullptr : residual + row * other.row() + column * kBlock;
        tile.prefetch = next;
        tile.prefetch_lines = next < end ? paced : 0;
        s_.kernels->conv(tile, panel.blocks, pixels);
        next += paced * tile.tap_count * 64;
      }
      if (!tile.last || s_.epilogue.after == nullptr) continue;
      for (int block = 0; block < panel.blocks; ++block) {
        float* done = y + block * out_.plane() + row * out_.row();
        s_.epilogue.after(done, done, static_cast<size_t>(width * kBlock));
      }
    }
  }
}

std::string DirectRows::kernel() const {
  return std::string(in_.form == Layout::Form::kPlanar ? "direct-planar " : "direct ") + std::to_string(tile_.blocks) + "x" + std::to_string(tile_.pixels);
}

DepthwiseRows::DepthwiseRows(ConvSetting setting, const Layout& in, const Layout& out) : s_(std::move(setting)), in_(in), out_(out) {
  for (int64_t i = 0; i < s_.kernel_h; ++i) {
    for (int64_t j = 0; j < s_.kernel_w; ++j) taps_.push_back(i * s_.dilation_h * in.row() + j * s_.dilation_w * kBlock);
  }
  const bool slides = s_.stride_w == 1 && s_.dilation_w == 1 && (s_.kernel_w == 3 || s_.kernel_w == 5 || s_.kernel_w == 7);
  neighbours_ = slides ? s_.kernel_w : 1;
  pixels_ = EvenPart(out.shape.width, kMostDepthwisePixels);
  rows_ = slides && s_.stride_h == 1 && s_.dilation_h == 1 ? s_.kernels->depthwise_rows : 1;
}

void DepthwiseRows::Run(int64_t block, const float* x, float* y, const float* residual, int64_t rows) const {
  const int64_t taps = static_cast<int64_t>(taps_.size()), width = out_.shape.width;
  const Layout& other = s_.residual ? s_.residual->layout : out_;
  DepthwiseTile tile{.x = nullptr, .taps = taps_.data(), .tap_count = taps, .neighbours = neighbours_, .pixel = s_.stride_w * kBlock,
                     .weight = s_.weights->weight.as<float>() + block * taps * kBlock, .y = nullptr,
                     .bias = s_.weights->bias.as<float>() + block * kBlock, .residual = nullptr, .rows = 1, .x_row = in_.row(), .y_row = out_.row(),
                     .residual_row = other.row(), .low = s_.epilogue.low, .high = s_.epilogue.high};
  for (int64_t row = 0; row < rows; row += tile.rows) {
    tile.rows = static_cast<int>(std::min<int64_t>(rows_, rows - row));
    for (int64_t column = 0; column < width; column += pixels_) {
      tile.x = x + row * s_.stride_h * in_.row() + column * tile.pixel;
      tile.y = y + row * out_.row() + column * kBlock;
      tile.residual = residual == nullptr ? nullptr : residual + row * other.row() + column * kBlock;
      s_.kernels->depthwise(tile, static_cast<int>(std::min(pixels_, width - column)));
    }
    if (s_.epilogue.after == nullptr) continue;
    for (int64_t done = row; done < row + tile.rows; ++done) {
      s_.epilogue.after(y + done * out_.row(), y + done * out_.row(), static_cast<size_t>(width * kBlock));
    }
  }
}

std::string DepthwiseRows::kernel() const { return "depthwise " + std::to_string(rows_) + "x" + std::to_string(pixels_); }

}  // namespace repfuse
