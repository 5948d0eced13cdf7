// The steps beside convolutions.
#pragma once

#include <memory>

#include "step.h"

namespace repfuse {

// The caller's NCHW to the first value (of terms only if it is planar), and the last one back.
std::unique_ptr<Step> MakeIngest(const KernelTable& kernels, Value output);
// index: of the caller's outputs.
std::unique_ptr<Step> MakeDeliver(Value input, size_t index);
// A value of float32, in blocks of channels, as bf16 terms.
std::unique_ptr<Step> MakeSplit(Value input, const KernelTable& kernels, Value output);

struct WindowSetting {
  int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, pad_bottom, pad_right;
  bool count_include_pad;
};
// Padding counts as minus infinity; NaN wins.
std::unique_ptr<Step> MakeMaxPool(Value input, WindowSetting window, Value output);
// Sums in float64. What hangs over the padded edge is never counted.
std::unique_ptr<Step> MakeAveragePool(Value input, WindowSetting window, Value output);
std::unique_ptr<Step> MakeGlobalAveragePool(Value input, Value output);

std::unique_ptr<Step> MakeActivation(Value input, Function function, Value output);
std::unique_ptr<Step> MakeAdd(Value first, Value second, Function after, const KernelTable& kernels, Value output);
// y = x * gate, one gate value for each image and channel.
std::unique_ptr<Step> MakeGate(Value input, Value gate, Value output);
// A window onto the map moved by (top, left); outside lies fill[channel].
std::unique_ptr<Step> MakeFrame(Value input, int64_t top, int64_t left, std::vector<float> fill, Value output);
// Over channels, in float64.
std::unique_ptr<Step> MakeSoftmax(Value input, Value output);
// [C, H, W] to one vector.
std::unique_ptr<Step> MakeFlatten(Value input, Value output);
// A value of images as a tensor, and back.
std::unique_ptr<Step> MakeToTensor(Value input, Value output);
std::unique_ptr<Step> MakeToImages(Value input, Value output);

}  // namespace repfuse
