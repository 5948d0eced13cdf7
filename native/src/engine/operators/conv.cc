// Convolution, and the linear layer, which is one of a single pixel. Their steps are made by conv_step.cc.
#include "repfuse/conv.h"

#include "operator.h"

namespace repfuse {
namespace {

Status ConvResult(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  if (inputs[0].rank != 4) return Fails("an input that is no image");
  const ImageShape x = AsImages(inputs[0]);
  const ConvShape shape{.batch = x.batch,
                        .in_channels = x.channels,
                        .height = x.height,
                        .width = x.width,
                        .out_channels = node.out_channels,
                        .kernel_h = node.kernel_h,
                        .kernel_w = node.kernel_w,
                        .stride_h = node.stride_h,
                        .stride_w = node.stride_w,
                        .pad_top = node.pad_top,
                        .pad_left = node.pad_left,
                        .pad_bottom = node.pad_bottom,
                        .pad_right = node.pad_right,
                        .dilation_h = node.dilation_h,
                        .dilation_w = node.dilation_w,
                        .groups = node.groups};
  const Status checked = CheckConvShape(shape);
  if (!checked.ok()) return checked;
  if (node.pad_top < 0 || node.pad_left < 0 || node.pad_bottom < 0 || node.pad_right < 0) return Fails("a padding of the convolution");
  *out = Shape::Of({x.batch, node.out_channels, shape.out_height(), shape.out_width()});
  if (node.weight_count != node.out_channels * (x.channels / node.groups) * node.kernel_h * node.kernel_w)
    return Fails("the size of the weight");
  if (!IsBiasOf(node, node.out_channels)) return Fails("the size of the bias");
  return inputs.size() > 1 && inputs[1] != *out ? Fails("the shape of what is added") : Ok();
}

Status LinearResult(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  const bool pointwise = node.kernel_h == 1 && node.kernel_w == 1 && node.stride_h == 1 && node.stride_w == 1 && node.groups == 1 &&
                         node.pad_top == 0 && node.pad_left == 0 && node.pad_bottom == 0 && node.pad_right == 0;
  if (!pointwise) return Fails("the window of a linear layer");
  if (inputs[0].rank != 2 || node.weight_count != node.out_channels * inputs[0][1]) return Fails("the features of a linear layer");
  if (!IsBiasOf(node, node.out_channels)) return Fails("the size of the bias");
  *out = Shape::Of({inputs[0][0], node.out_channels});
  return Ok();
}

}  // namespace

const Operator kConv{"conv", {1, 2}, ValueTypes::kImages, ConvResult, nullptr, Trait::kTakesActivation};
const Operator kLinear{"linear", {1, 1}, ValueTypes::kImages, LinearResult, nullptr, Trait::kTakesActivation};

}  // namespace repfuse
