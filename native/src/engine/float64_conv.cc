#include <algorithm>
#include <vector>

#include "../kernels/conv/lanes.h"
#include "convolutions.h"

namespace repfuse {
namespace {

// The plain definition, one row of one output channel at a time. Taps that lie outside the map are left out, so it asks for no border:
// paddings, strides and dilations may be of any size.
class Float64Conv final : public Step {
 public:
  Float64Conv(ConvSetting setting, Value output) : Step(output), s_(std::move(setting)) {
    for (int64_t j = 0; j < s_.kernel_w; ++j) {
      inside_.emplace_back(output.layout.shape.width, s_.input.layout.shape.width, s_.stride_w, j * s_.dilation_w - s_.pad_left);
    }
  }

  // A row of sums, in float64.
  int64_t workspace() const override { return 2 * output_.layout.shape.width; }

  void Run(const RunState& run) const override {
    const Layout &in = s_.input.layout, &to = output_.layout;
    const int64_t channels = to.blocks() * kBlock, rows = to.shape.height;
    ForEach(to.shape.batch * channels * rows, run.threads, [&](int64_t index, int slot) {
      const int64_t n = index / rows / channels, channel = index / rows % channels, row = index % rows;
      float* y = out(run) + to.at(n, channel / kBlock, row, 0) + channel % kBlock;
      if (channel >= s_.channels.out_channels) {  // as ClearPaddedChannels
        for (int64_t x = 0; x < to.shape.width; ++x) y[x * kBlock] = 0;
        return;
      }
      double* const sums = reinterpret_cast<double*>(run.workspace + slot * run.workspace_size);
      std::fill_n(sums, to.shape.width, static_cast<double>(s_.weights->bias.as<float>()[channel]));
      AddInputs(run.slots[s_.input.slot], in, n, channel, row, sums);
      const float* residual = nullptr;
      if (s_.residual) residual = run.slots[s_.residual->slot] + s_.residual->layout.at(n, channel / kBlock, row, 0) + channel % kBlock;
      for (int64_t x = 0; x < to.shape.width; ++x) {
        const float other = residual == nullptr ? 0 : residual[x * kBlock];
        const double sum = s_.epilogue.sums_first() ? sums[x] + other : sums[x];
        const double bounded = sum < s_.epilogue.low() ? s_.epilogue.low() : sum > s_.epilogue.high() ? s_.epilogue.high() : sum;
        y[x * kBlock] = s_.epilogue.Finished(static_cast<float>(bounded), channel, other);  // NaN is kept
      }
    });
  }

  std::string kernel() const override { return "float64"; }

 private:
  void AddInputs(const float* base, const Layout& in, int64_t n, int64_t channel, int64_t row, double* sums) const {
    const int64_t per_group = s_.channels.in_per_group(), first = channel / s_.channels.out_per_group() * per_group;
    const float* weight = s_.weights->weight.as<float>() + channel * per_group * s_.kernel_h * s_.kernel_w;
    for (int64_t c = first; c < first + per_group; ++c) {
      for (int64_t i = 0; i < s_.kernel_h; ++i, weight += s_.kernel_w) {
        const int64_t y = row * s_.stride_h - s_.pad_top + i * s_.dilation_h;
        if (y < 0 || y >= in.shape.height) continue;
        const float* pixels = base + in.at(n, c / in.lanes(), y, 0) + c % in.lanes();
        for (int64_t j = 0; j < s_.kernel_w; ++j) {
          const double w = weight[j];
          const int64_t x = j * s_.dilation_w - s_.pad_left;
          const OutputRange& inside = inside_[static_cast<size_t>(j)];
          for (int64_t column = inside.begin; column < inside.end; ++column) {
            sums[column] += w * static_cast<double>(pixels[(column * s_.stride_w + x) * in.pixel()]);
          }
        }
      }
    }
  }

  ConvSetting s_;
  std::vector<OutputRange> inside_;  // by column of the kernel
};

}  // namespace

std::unique_ptr<Step> MakeFloat64Conv(ConvSetting setting, Value output) {
  return std::make_unique<Float64Conv>(std::move(setting), output);
}

}  // namespace repfuse
