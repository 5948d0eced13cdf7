#include "shapes.h"

#include "repfuse/checked.h"
#include "repfuse/conv.h"

namespace repfuse {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 31;

ConvShape ShapeOfConv(const NetworkNode& node, const ImageShape& x) {
  return {.batch = x.batch, .in_channels = x.channels, .height = x.height, .width = x.width, .out_channels = node.out_channels,
          .kernel_h = node.kernel_h, .kernel_w = node.kernel_w, .stride_h = node.stride_h, .stride_w = node.stride_w,
          .pad_top = node.pad_top, .pad_left = node.pad_left, .pad_bottom = node.pad_bottom, .pad_right = node.pad_right,
          .dilation_h = node.dilation_h, .dilation_w = node.dilation_w, .groups = node.groups};
}

// A last window may begin in the map or its left padding, no further.
int64_t Pooled(int64_t size, int64_t kernel, int64_t stride, int64_t before, int64_t after, bool ceil_mode) {
  const int64_t free = size + before + after - kernel;
  if (free < 0 || before < 0 || after < 0) return 0;
  int64_t count = (free + (ceil_mode ? stride - 1 : 0)) / stride + 1;
  if (ceil_mode && (count - 1) * stride >= size + before) --count;
  return count;
}

Status ShapeOf(const NetworkNode& node, const std::vector<ImageShape>& shapes, ImageShape* out) {
  const ImageShape& x = shapes[static_cast<size_t>(node.inputs[0])];
  *out = x;
  const auto fails = [](const char* message) { return Status{Code::kInvalidArgument, message}; };
  switch (node.kind) {
    case NodeKind::kConv: {
      const ConvShape shape = ShapeOfConv(node, x);
      const Status checked = CheckConvShape(shape);
      if (!checked.ok()) return checked;
      if (shape.pad_top < 0 || shape.pad_left < 0 || shape.pad_bottom < 0 || shape.pad_right < 0) return fails("a padding of the convolution");
      *out = {x.batch, node.out_channels, shape.out_height(), shape.out_width()};
      if (node.weight_count != node.out_channels * (x.channels / node.groups) * node.kernel_h * node.kernel_w) return fails("the size of the weight");
      if (node.bias.bytes() != 0 && node.bias.bytes() != static_cast<size_t>(node.out_channels) * sizeof(float)) return fails("the size of the bias");
      if (node.inputs.size() > 1 && shapes[static_cast<size_t>(node.inputs[1])] != *out) return fails("the shape of what is added");
      return Ok();
    }
    case NodeKind::kLinear:
      if (x.height != 1 || x.width != 1 || node.weight_count != node.out_channels * x.channels) {
        return fails("the features of a linear layer");
      }
      if (node.bias.bytes() != 0 && node.bias.bytes() != static_cast<size_t>(node.out_channels) * sizeof(float)) return fails("the size of the bias");
      out->channels = node.out_channels;
      return Ok();
    case NodeKind::kMaxPool:
    case NodeKind::kAveragePool:
      out->height = Pooled(x.height, node.kernel_h, node.stride_h, node.pad_top, node.pad_bottom, node.ceil_mode);
      out->width = Pooled(x.width, node.kernel_w, node.stride_w, node.pad_left, node.pad_right, node.ceil_mode);
      return out->height < 1 || out->width < 1 ? fails("a size of the pooling") : Ok();
    case NodeKind::kGlobalAveragePool:
      out->height = out->width = 1;
      return Ok();
    case NodeKind::kActivation:
    case NodeKind::kSoftmax: return Ok();
    case NodeKind::kAdd: return shapes[static_cast<size_t>(node.inputs[1])] == x ? Ok() : fails("the shapes of a sum");
    case NodeKind::kGate:
      return shapes[static_cast<size_t>(node.inputs[1])] == ImageShape{x.batch, x.channels, 1, 1} ? Ok() : fails("the shape of a gate");
    case NodeKind::kFlatten: *out = {x.batch, x.channels * x.height * x.width, 1, 1}; return Ok();
    case NodeKind::kFrame:
      out->height = x.height + node.pad_top + node.pad_bottom;
      out->width = x.width + node.pad_left + node.pad_right;
      if (node.bias.bytes() != 0 && node.bias.bytes() != static_cast<size_t>(x.channels) * sizeof(float)) return fails("the size of the fill");
      return out->height < 1 || out->width < 1 ? fails("the size of a frame") : Ok();
  }
  return fails("the kind of a node");
}

}  // namespace

Status InferShapes(const Network& network, const ImageShape& input, std::vector<ImageShape>* shapes) {
  shapes->assign(1, input);
  if (input.channels != network.in_channels) return {Code::kInvalidArgument, "the channels of the input"};
  for (size_t i = 0; i < network.nodes.size(); ++i) {
    const NetworkNode& node = network.nodes[i];
    const size_t wanted = node.kind == NodeKind::kAdd || node.kind == NodeKind::kGate ? 2 : 1;
    if (node.inputs.size() != wanted && !(node.kind == NodeKind::kConv && node.inputs.size() == 2)) {
      return {Code::kInvalidArgument, "the number of inputs", static_cast<long long>(i)};
    }
    for (const int value : node.inputs) {
      if (value < 0 || value > static_cast<int>(i)) return {Code::kInvalidArgument, "an input that does not come before its node", static_cast<long long>(i)};
    }
    ImageShape shape;
    Status status = ShapeOf(node, *shapes, &shape);
    int64_t size;
    if (status.ok() && (!CheckedProduct({shape.batch, shape.channels, shape.height, shape.width}, &size) || size > kMaxElements)) {
      status = {Code::kInvalidArgument, "the size of a result"};
    }
    if (!status.ok()) {
      status.where = static_cast<long long>(i);
      return status;
    }
    shapes->push_back(shape);
  }
  if (network.output < 0 || network.output >= static_cast<int>(shapes->size())) return {Code::kInvalidArgument, "the output"};
  return Ok();
}

}  // namespace repfuse
