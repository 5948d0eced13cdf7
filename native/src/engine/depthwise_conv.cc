#include <algorithm>
#include <vector>

#include "../kernels/blocked/depthwise_tile.h"
#include "convolutions.h"

namespace repfuse {
namespace {

constexpr int64_t kRows = 4;  // of a share

class DepthwiseConv final : public Step {
 public:
  DepthwiseConv(ConvSetting setting, Value output) : Step(output), s_(std::move(setting)) {
    const Layout& in = s_.input.layout;
    for (int64_t i = 0; i < s_.kernel_h; ++i) {
      for (int64_t j = 0; j < s_.kernel_w; ++j) taps_.push_back(i * s_.dilation_h * in.row() + j * s_.dilation_w * kBlock);
    }
    const bool slides = s_.stride_w == 1 && s_.dilation_w == 1 && (s_.kernel_w == 3 || s_.kernel_w == 5 || s_.kernel_w == 7);
    neighbours_ = slides ? s_.kernel_w : 1;
    pixels_ = EvenPart(output.layout.shape.width, kMostDepthwisePixels);
    parts_ = (output.layout.shape.height + kRows - 1) / kRows;
  }

  void Run(const RunState& run) const override {
    const Layout &in = s_.input.layout, &to = output_.layout;
    const int64_t taps = static_cast<int64_t>(taps_.size());
    ForEach(to.shape.batch * to.blocks() * parts_, run.threads, [&](int64_t share, int) {
      const int64_t block = share % to.blocks(), part = share / to.blocks() % parts_, n = share / to.blocks() / parts_;  // by rows, as the layers around
      const float* x = run.slots[s_.input.slot] + in.at(n, block, -s_.pad_top, -s_.pad_left);
      float* y = out(run) + to.at(n, block, 0, 0);
      const Layout& other = s_.residual ? s_.residual->layout : to;
      const float* residual = s_.residual ? run.slots[s_.residual->slot] + other.at(n, block, 0, 0) : nullptr;
      DepthwiseTile tile{.x = nullptr, .taps = taps_.data(), .tap_count = taps, .neighbours = neighbours_, .pixel = s_.stride_w * kBlock,
                         .weight = s_.weights->weight.as<float>() + block * taps * kBlock, .y = nullptr,
                         .bias = s_.weights->bias.as<float>() + block * kBlock, .residual = nullptr, .low = s_.epilogue.low, .high = s_.epilogue.high};
      for (int64_t row = part * kRows; row < std::min(to.shape.height, (part + 1) * kRows); ++row) {
        for (int64_t column = 0; column < to.shape.width; column += pixels_) {
          tile.x = x + row * s_.stride_h * in.row() + column * tile.pixel;
          tile.y = y + row * to.row() + column * kBlock;
          tile.residual = residual == nullptr ? nullptr : residual + row * other.row() + column * kBlock;
          s_.kernels->depthwise(tile, static_cast<int>(std::min(pixels_, to.shape.width - column)));
        }
        float* done = y + row * to.row();
        if (s_.epilogue.after != nullptr) s_.epilogue.after(done, done, static_cast<size_t>(to.shape.width * kBlock));
      }
    });
  }

  std::string kernel() const override { return "depthwise 1x" + std::to_string(pixels_); }

 private:
  ConvSetting s_;
  std::vector<int64_t> taps_;
  int64_t neighbours_, pixels_, parts_;
};

}  // namespace

std::unique_ptr<Step> MakeDepthwiseConv(ConvSetting setting, Value output) { return std::make_unique<DepthwiseConv>(std::move(setting), output); }

}  // namespace repfuse
