#include <algorithm>
#include <vector>

#include "convolutions.h"

namespace repfuse {
namespace {

// The plain definition, one row of one output channel at a time.
class Float64Conv final : public Step {
 public:
  Float64Conv(ConvSetting setting, Value output) : Step(output), s_(std::move(setting)) {}

  // A row of sums, in float64.
  int64_t workspace() const override { return 2 * output_.layout.shape.width; }

  void Run(const RunState& run) const override {
    const Layout &in = s_.input.layout, &to = output_.layout;
    const int64_t channels = s_.channels.out_channels, rows = to.shape.height;
    ForEach(to.shape.batch * channels * rows, run.threads, [&](int64_t index, int slot) {
      const int64_t n = index / rows / channels, channel = index / rows % channels, row = index % rows;
      double* const sums = reinterpret_cast<double*>(run.workspace + slot * run.workspace_size);
      std::fill_n(sums, to.shape.width, static_cast<double>(s_.weights->bias.as<float>()[channel]));
      AddInputs(run.slots[s_.input.slot], in, n, channel, row, sums);
      float* y = out(run) + to.at(n, channel / kBlock, row, 0) + channel % kBlock;
      const float* residual = nullptr;
      if (s_.residual) residual = run.slots[s_.residual->slot] + s_.residual->layout.at(n, channel / kBlock, row, 0) + channel % kBlock;
      for (int64_t x = 0; x < to.shape.width; ++x) {
        const double sum = residual == nullptr ? sums[x] : sums[x] + residual[x * kBlock];
        y[x * kBlock] = static_cast<float>(sum < s_.epilogue.low ? s_.epilogue.low : sum > s_.epilogue.high ? s_.epilogue.high : sum);  // NaN is kept
        if (s_.epilogue.after) s_.epilogue.after(y + x * kBlock, y + x * kBlock, 1);
      }
    });
  }

  std::string kernel() const override { return "float64"; }

 private:
  void AddInputs(const float* base, const Layout& in, int64_t n, int64_t channel, int64_t row, double* sums) const {
    const int64_t per_group = s_.channels.in_per_group(), first = channel / s_.channels.out_per_group() * per_group, width = output_.layout.shape.width;
    const float* weight = s_.weights->weight.as<float>() + channel * per_group * s_.kernel_h * s_.kernel_w;
    for (int64_t c = first; c < first + per_group; ++c) {
      for (int64_t i = 0; i < s_.kernel_h; ++i) {
        for (int64_t j = 0; j < s_.kernel_w; ++j, ++weight) {
          const int64_t y = row * s_.stride_h - s_.pad_top + i * s_.dilation_h, x = j * s_.dilation_w - s_.pad_left;
          const float* input = base + in.at(n, c / in.lanes(), y, x) + c % in.lanes();
          const double w = *weight;
          for (int64_t column = 0; column < width; ++column) sums[column] += w * static_cast<double>(input[column * s_.stride_w * in.pixel()]);
        }
      }
    }
  }

  ConvSetting s_;
};

}  // namespace

std::unique_ptr<Step> MakeFloat64Conv(ConvSetting setting, Value output) { return std::make_unique<Float64Conv>(std::move(setting), output); }

}  // namespace repfuse
