// Steps that work on images and tensors of images alike: plane by plane, of one channel or of a block of them.
#pragma once

#include <memory>
#include <vector>

#include "step.h"

namespace repfuse {

// kBinary over images: operands of one shape, or with one value where the other has many; a constant has one value, or one for each
// channel.
std::unique_ptr<Step> MakeImageBinary(const NetworkNode& node, const std::vector<Value>& inputs, Value output);
// Along channels.
std::unique_ptr<Step> MakeImageConcat(const std::vector<Value>& inputs, Value output);
// ONNX's Resize of height and width. Weights of pixels in float64.
std::unique_ptr<Step> MakeResize(const ResizeOptions& options, Value input, Value output);
// [C blocks, H, W] to [C, H block_h, W block_w].
std::unique_ptr<Step> MakeDepthToSpace(const NetworkNode& node, Value input, Value output);

}  // namespace repfuse
