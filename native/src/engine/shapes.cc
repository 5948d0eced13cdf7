#include "shapes.h"

#include <algorithm>

#include "repfuse/checked.h"
#include "repfuse/conv.h"
#include "tensor_shapes.h"

namespace repfuse {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 31, kMaxDim = int64_t{1} << 31;

ConvShape ShapeOfConv(const NetworkNode& node, const ImageShape& x) {
  return {.batch = x.batch,
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
}

// A last window may begin in the map or its left padding, no further. Rounded up, one that is larger than all there is may be the only one.
int64_t Pooled(int64_t size, int64_t kernel, int64_t stride, int64_t before, int64_t after, bool ceil_mode) {
  const int64_t free = size + before + after - kernel + (ceil_mode ? stride - 1 : 0);
  if (free < 0 || before < 0 || after < 0) return 0;
  int64_t count = free / stride + 1;
  if (ceil_mode && (count - 1) * stride >= size + before) --count;
  return count;
}

Status Fails(const char* message) { return {Code::kInvalidArgument, message}; }

bool IsWithin(std::initializer_list<int64_t> values, int64_t low) {
  return std::all_of(values.begin(), values.end(), [&](int64_t value) { return value >= low && value <= kMaxDim; });
}

bool IsBiasOf(const NetworkNode& node, int64_t channels) {
  return node.bias.bytes() == 0 || node.bias.bytes() == static_cast<size_t>(channels) * sizeof(float);
}

Status ShapeOfLinear(const NetworkNode& node, const Shape& input, Shape* out) {
  if (input.rank != 2 || node.weight_count != node.out_channels * input[1]) return Fails("the features of a linear layer");
  if (!IsBiasOf(node, node.out_channels)) return Fails("the size of the bias");
  *out = Shape::Of({input[0], node.out_channels});
  return Ok();
}

// Of what makes images of images.
Status ShapeOfImages(const NetworkNode& node, const std::vector<Shape>& inputs, Shape* out) {
  *out = inputs[0];
  if (node.kind == NodeKind::kLinear) return ShapeOfLinear(node, inputs[0], out);
  if (node.kind == NodeKind::kSoftmax) return Ok();
  if (node.kind == NodeKind::kAdd) return inputs[1] == inputs[0] ? Ok() : Fails("the shapes of a sum");
  if (inputs[0].rank != 4) return Fails("an input that is no image");
  const ImageShape x = AsImages(inputs[0]);
  switch (node.kind) {
    case NodeKind::kConv: {
      const ConvShape shape = ShapeOfConv(node, x);
      const Status checked = CheckConvShape(shape);
      if (!checked.ok()) return checked;
      if (shape.pad_top < 0 || shape.pad_left < 0 || shape.pad_bottom < 0 || shape.pad_right < 0)
        return Fails("a padding of the convolution");
      *out = Shape::Of({x.batch, node.out_channels, shape.out_height(), shape.out_width()});
      if (node.weight_count != node.out_channels * (x.channels / node.groups) * node.kernel_h * node.kernel_w)
        return Fails("the size of the weight");
      if (!IsBiasOf(node, node.out_channels)) return Fails("the size of the bias");
      return inputs.size() > 1 && inputs[1] != *out ? Fails("the shape of what is added") : Ok();
    }
    case NodeKind::kMaxPool:
    case NodeKind::kAveragePool: {
      const int64_t kernel_h = (node.kernel_h - 1) * node.dilation_h + 1, kernel_w = (node.kernel_w - 1) * node.dilation_w + 1;
      (*out)[2] = Pooled(x.height, kernel_h, node.stride_h, node.pad_top, node.pad_bottom, node.ceil_mode);
      (*out)[3] = Pooled(x.width, kernel_w, node.stride_w, node.pad_left, node.pad_right, node.ceil_mode);
      return (*out)[2] < 1 || (*out)[3] < 1 ? Fails("a size of the pooling") : Ok();
    }
    case NodeKind::kGlobalAveragePool: *out = Shape::Of({x.batch, x.channels, 1, 1}); return Ok();
    case NodeKind::kGate: return inputs[1] == Shape::Of({x.batch, x.channels, 1, 1}) ? Ok() : Fails("the shape of a gate");
    case NodeKind::kFrame:
      (*out)[2] = x.height + node.pad_top + node.pad_bottom;
      (*out)[3] = x.width + node.pad_left + node.pad_right;
      if (!IsBiasOf(node, x.channels)) return Fails("the size of the fill");
      return (*out)[2] < 1 || (*out)[3] < 1 ? Fails("the size of a frame") : Ok();
    default: return Fails("the kind of a node");
  }
}

// Whether the number and the forms of a node's inputs are right, and which form it makes.
Status CheckInputs(const NetworkNode& node, const std::vector<Form>& forms, Form* out) {
  const auto all = [&](Form form) {
    return std::all_of(node.inputs.begin(), node.inputs.end(), [&](int value) { return forms[static_cast<size_t>(value)] == form; });
  };
  const size_t count = node.inputs.size();
  size_t least = 1, most = 1;
  if (node.kind == NodeKind::kAdd || node.kind == NodeKind::kGate || node.kind == NodeKind::kMatMul) least = most = 2;
  if (node.kind == NodeKind::kConv || node.kind == NodeKind::kBinary || node.kind == NodeKind::kResize) most = 2;
  if (node.kind == NodeKind::kConcat) most = 1 << 20;
  if (node.kind == NodeKind::kConstant) least = most = 0;
  if (count < least || count > most) return Fails("the number of inputs");
  if (node.kind >= NodeKind::kToTensor) *out = node.kind == NodeKind::kToTensor ? Form::kTensor : Form::kImages;
  else if (node.kind >= NodeKind::kConstant) *out = Form::kTensor;
  else if (node.kind >= NodeKind::kActivation) *out = forms[static_cast<size_t>(node.inputs[0])];
  else *out = Form::kImages;
  const Form wanted = node.kind < NodeKind::kToTensor ? *out : *out == Form::kTensor ? Form::kImages : Form::kTensor;
  return all(wanted) ? Ok() : Fails("the form of an input");
}

}  // namespace

Status CheckNode(const NetworkNode& node) {
  if (!IsWithin({node.kernel_h, node.kernel_w, node.stride_h, node.stride_w, node.dilation_h, node.dilation_w, node.groups}, 1))
    return Fails("a window");
  if (!IsWithin({node.pad_top, node.pad_left, node.pad_bottom, node.pad_right}, -kMaxDim)) return Fails("a padding");
  if (!std::all_of(node.ints.begin(), node.ints.end(), [](int64_t value) { return IsWithin({value}, -kMaxDim); }))
    return Fails("an integer");
  if (node.kind != NodeKind::kConv && node.kind != NodeKind::kLinear) return Ok();
  int64_t taps;
  if (!IsWithin({node.out_channels}, 1) || node.out_channels % node.groups != 0) return Fails("groups");
  return CheckedProduct({node.out_channels, node.kernel_h, node.kernel_w}, &taps) ? Ok() : Fails("the size of the weight");
}

Status InferShapes(const Network& network, const ImageShape& input, std::vector<Shape>* shapes, std::vector<Form>* forms) {
  shapes->assign(1, Shape::Of({input.batch, input.channels, input.height, input.width}));
  forms->assign(1, Form::kImages);
  if (!IsWithin({input.batch, input.channels, input.height, input.width}, 1) || !shapes->front().checked_count().AtMost(kMaxElements)) {
    return Fails("the size of the input");
  }
  if (input.channels != network.in_channels) return {Code::kInvalidArgument, "the channels of the input"};
  for (size_t i = 0; i < network.nodes.size(); ++i) {
    const NetworkNode& node = network.nodes[i];
    std::vector<Shape> inputs;
    for (const int value : node.inputs) {
      if (value < 0 || value > static_cast<int>(i))
        return {Code::kInvalidArgument, "an input that does not come before its node", static_cast<long long>(i)};
      inputs.push_back((*shapes)[static_cast<size_t>(value)]);
    }
    Form form = Form::kImages;
    Shape shape;
    Status status = CheckInputs(node, *forms, &form);
    if (status.ok())
      status = node.kind < NodeKind::kActivation ? ShapeOfImages(node, inputs, &shape) : ShapeOfTensor(node, inputs, form, &shape);
    const bool filled = std::all_of(shape.dims.begin(), shape.dims.begin() + shape.rank, [](int64_t size) { return size > 0; });
    if (status.ok() && !(filled && shape.checked_count().AtMost(kMaxElements))) status = Fails("the size of a result");
    if (!status.ok()) {
      status.where = static_cast<long long>(i);
      return status;
    }
    shapes->push_back(shape);
    forms->push_back(form);
  }
  for (const int output : network.outputs) {
    if (output < 0 || output >= static_cast<int>(shapes->size())) return {Code::kInvalidArgument, "an output"};
  }
  return network.outputs.empty() ? Status{Code::kInvalidArgument, "the outputs"} : Ok();
}

}  // namespace repfuse
