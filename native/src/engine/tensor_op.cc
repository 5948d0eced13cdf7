#include "repfuse/tensor_op.h"

#include <algorithm>

#include "operators/operator.h"
#include "repfuse/checked.h"
#include "shapes.h"

namespace repfuse {
namespace {

// Of something, and of bytes that can be counted.
bool IsSize(const Shape& shape) {
  const bool filled = std::all_of(shape.dims.begin(), shape.dims.begin() + shape.rank, [](int64_t size) { return size > 0; });
  return filled && (shape.checked_count() * 64).ok();
}

Layout RowMajor(const Shape& shape) { return {.kind = Layout::Kind::kPlanar, .shape = AsImages(shape)}; }

}  // namespace

bool IsTensorOp(const NetworkNode& node) {
  return node.op != nullptr && node.op->inputs.most > 0 &&
         (node.op->types == ValueTypes::kTensors || node.op->types == ValueTypes::kAsInputs);
}

Status TensorOpShape(const NetworkNode& node, std::span<const TensorView> inputs, Shape* out) {
  if (!IsTensorOp(node)) return Fails("an operator that is not of tensors");
  if (inputs.size() < node.op->inputs.least || inputs.size() > node.op->inputs.most) return Fails("the number of inputs");
  const Status checked = CheckNode(node);
  if (!checked.ok()) return checked;
  std::vector<Shape> shapes;
  for (const TensorView& input : inputs) {
    if (!IsSize(input.shape)) return Fails("the size of an input");
    shapes.push_back(input.shape);
  }
  *out = shapes[0];
  const Status status = node.op->shape(node, shapes, ValueType::kTensor, out);
  return !status.ok() || IsSize(*out) ? status : Fails("the size of the result");
}

Status RunTensorOp(const NetworkNode& node, std::span<const TensorView> inputs, std::span<float> out, int threads) {
  Shape shape;
  const Status status = TensorOpShape(node, inputs, &shape);
  if (!status.ok()) return status;
  if (out.size() != static_cast<size_t>(shape.count())) return Fails("the size of the result");
  std::vector<ShapedValue> values;
  std::vector<float*> slots;
  for (const TensorView& input : inputs) {
    values.push_back({{static_cast<int>(slots.size()), RowMajor(input.shape)}, input.shape});
    slots.push_back(const_cast<float*>(input.data));  // steps read what they do not make
  }
  const ShapedValue output{{static_cast<int>(slots.size()), RowMajor(shape)}, shape};
  slots.push_back(out.data());
  const auto step = node.op->step({node, values, output, ValueType::kTensor, Kernels()});
  AlignedBuffer workspace;
  const int64_t each = step->workspace();
  int64_t bytes;
  if (!CheckedProduct({each, threads, 4}, &bytes) || (bytes > 0 && !workspace.Allocate(static_cast<size_t>(bytes))))
    return {Code::kOutOfMemory, "the workspace"};
  const FlushDenormals flush;
  step->Run(
      {.slots = slots.data(), .inputs = {}, .outputs = {}, .workspace = workspace.as<float>(), .workspace_size = each, .threads = threads});
  return Cancelled() ? Status{Code::kCancelled, "cancelled"} : Ok();
}

}  // namespace repfuse
