#include "shapes.h"

#include <algorithm>

#include "operators/operator.h"
#include "repfuse/checked.h"

namespace repfuse {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 31, kMaxDim = int64_t{1} << 31;

bool IsWithin(std::initializer_list<int64_t> values, int64_t low) {
  return std::all_of(values.begin(), values.end(), [&](int64_t value) { return value >= low && value <= kMaxDim; });
}

bool IsFilled(const Shape& shape) {
  return std::all_of(shape.dims.begin(), shape.dims.begin() + shape.rank, [](int64_t size) { return size > 0; });
}

// Whether the number and the types of a node's inputs are right, and which type it makes.
Status CheckInputs(const NetworkNode& node, const std::vector<ValueType>& types, ValueType* out) {
  const Operator& op = *node.op;
  if (node.inputs.size() < op.inputs.least || node.inputs.size() > op.inputs.most) return Fails("the number of inputs");
  const auto type_of = [&](int value) { return types[static_cast<size_t>(value)]; };
  ValueType wanted = ValueType::kImages;
  switch (op.types) {
    case ValueTypes::kImages: *out = wanted; break;
    case ValueTypes::kTensors: *out = wanted = ValueType::kTensor; break;
    case ValueTypes::kAsInputs: *out = wanted = type_of(node.inputs[0]); break;
    case ValueTypes::kToTensor: *out = ValueType::kTensor; break;
    case ValueTypes::kToImages: *out = ValueType::kImages, wanted = ValueType::kTensor; break;
  }
  const bool all = std::all_of(node.inputs.begin(), node.inputs.end(), [&](int value) { return type_of(value) == wanted; });
  return all ? Ok() : Fails("the type of an input");
}

// Whether what follows a node's activation is of its result and its inputs.
Status CheckFollows(const NetworkNode& node, std::span<const Shape> inputs, ValueType type, const Shape& result) {
  const size_t bytes = result.rank < 2 ? 0 : static_cast<size_t>(result[1]) * sizeof(float);
  int sums = 0;
  for (const NodeFollow& each : node.follows) {
    const bool scales = each.scale.bytes() > 0 || each.shift.bytes() > 0;
    if ((each.activation != nullptr ? 1 : 0) + (each.adds ? 1 : 0) + (scales ? 1 : 0) != 1) return Fails("what follows an activation");
    if (scales && (each.scale.bytes() != bytes || each.shift.bytes() != bytes || type != ValueType::kImages))
      return Fails("the size of a scale or shift");
    if (each.adds) ++sums;
  }
  if (sums == 0) return Ok();
  const bool has_residual = (node.op->is_convolution() && inputs.size() == 2) || (node.op == &kBinary && type == ValueType::kImages);
  return sums == 1 && has_residual && inputs.back() == result ? Ok() : Fails("what a step adds to its result");
}

}  // namespace

Status CheckNode(const NetworkNode& node) {
  if (node.op == nullptr) return Fails("the operator");
  if ((node.activation != nullptr || !node.follows.empty()) && node.op->trait != Trait::kTakesActivation)
    return Fails("an activation of what applies none");
  if (!IsWithin({node.kernel_h, node.kernel_w, node.stride_h, node.stride_w, node.dilation_h, node.dilation_w, node.groups}, 1))
    return Fails("a window");
  if (!IsWithin({node.pad_top, node.pad_left, node.pad_bottom, node.pad_right}, -kMaxDim)) return Fails("a padding");
  if (!std::all_of(node.ints.begin(), node.ints.end(), [](int64_t value) { return IsWithin({value}, -kMaxDim); }))
    return Fails("an integer");
  if (!node.op->is_convolution()) return Ok();
  int64_t taps;
  if (!IsWithin({node.out_channels}, 1) || node.out_channels % node.groups != 0) return Fails("groups");
  return CheckedProduct({node.out_channels, node.kernel_h, node.kernel_w}, &taps) ? Ok() : Fails("the size of the weight");
}

Status InferShapes(const Network& network, std::span<const Shape> inputs, std::vector<Shape>* shapes, std::vector<ValueType>* types) {
  shapes->assign(inputs.begin(), inputs.end());
  types->clear();
  if (inputs.size() != network.inputs.size()) return Fails("the number of inputs");
  for (size_t i = 0; i < inputs.size(); ++i) {
    const NetworkInput& expected = network.inputs[i];
    types->push_back(expected.type);
    if (!IsFilled(inputs[i]) || !inputs[i].checked_count().AtMost(kMaxElements)) return Fails("the size of an input");
    if (expected.type == ValueType::kImages && (inputs[i].rank != 4 || inputs[i][1] != expected.channels))
      return Fails("the channels of an input");
  }
  for (size_t i = 0; i < network.nodes.size(); ++i) {
    const NetworkNode& node = network.nodes[i];
    std::vector<Shape> operands;
    for (const int value : node.inputs) {
      if (value < 0 || value >= network.value_of(i))
        return {Code::kInvalidArgument, "an input that does not come before its node", static_cast<long long>(i)};
      operands.push_back((*shapes)[static_cast<size_t>(value)]);
    }
    ValueType type = ValueType::kImages;
    Shape shape;
    Status status = CheckInputs(node, *types, &type);
    if (status.ok() && !operands.empty()) shape = operands[0];
    if (status.ok()) status = node.op->shape(node, operands, type, &shape);
    if (status.ok()) status = CheckFollows(node, operands, type, shape);
    if (status.ok() && !(IsFilled(shape) && shape.checked_count().AtMost(kMaxElements))) status = Fails("the size of a result");
    if (!status.ok()) {
      status.where = static_cast<long long>(i);
      return status;
    }
    shapes->push_back(shape);
    types->push_back(type);
  }
  for (const int output : network.outputs) {
    if (output < 0 || output >= static_cast<int>(shapes->size())) return {Code::kInvalidArgument, "an output"};
  }
  return network.outputs.empty() ? Status{Code::kInvalidArgument, "the outputs"} : Ok();
}

}  // namespace repfuse
