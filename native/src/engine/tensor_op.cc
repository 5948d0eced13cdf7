#include "repfuse/tensor_op.h"

#include <algorithm>

#include "image_steps.h"
#include "repfuse/checked.h"
#include "steps.h"
#include "tensor_shapes.h"
#include "tensor_steps.h"

namespace repfuse {
namespace {

std::unique_ptr<Step> MakeStep(const NetworkNode& node, const std::vector<TensorValue>& inputs, TensorValue output,
                               const KernelTable& kernels) {
  if (auto step = MakeTensorStep(node, inputs, kernels, output)) return step;
  switch (node.kind) {
    case NodeKind::kActivation: return MakeActivation(inputs[0].value, Function(node, kernels), output.value);
    case NodeKind::kResize:
      return MakeResize(ResizeLike(node.resize, inputs.size() > 1 ? &inputs[1].shape : nullptr), inputs[0].value, output.value);
    case NodeKind::kDepthToSpace: return MakeDepthToSpace(node, inputs[0].value, output.value);
    default: return nullptr;
  }
}

// Of something, and of bytes that can be counted.
bool IsSize(const Shape& shape) {
  const bool filled = std::all_of(shape.dims.begin(), shape.dims.begin() + shape.rank, [](int64_t size) { return size > 0; });
  return filled && (shape.checked_count() * 64).ok();
}

Layout RowMajor(const Shape& shape) { return {.form = Layout::Form::kPlanar, .shape = AsImages(shape)}; }

}  // namespace

bool IsTensorOp(NodeKind kind) { return kind >= NodeKind::kActivation && kind < NodeKind::kToTensor && kind != NodeKind::kConstant; }

Status TensorOpShape(const NetworkNode& node, const std::vector<TensorView>& inputs, Shape* out) {
  const bool two = node.kind == NodeKind::kMatMul,
             any = node.kind == NodeKind::kConcat || node.kind == NodeKind::kBinary || node.kind == NodeKind::kResize;
  if (!IsTensorOp(node.kind) || inputs.empty() || (two && inputs.size() != 2) || (!two && !any && inputs.size() != 1))
    return {Code::kInvalidArgument, "the number of inputs"};
  const Status checked = CheckNode(node);
  if (!checked.ok()) return checked;
  std::vector<Shape> shapes;
  for (const TensorView& input : inputs) {
    if (!IsSize(input.shape)) return {Code::kInvalidArgument, "the size of an input"};
    shapes.push_back(input.shape);
  }
  const Status status = ShapeOfTensor(node, shapes, Form::kTensor, out);
  return !status.ok() || IsSize(*out) ? status : Status{Code::kInvalidArgument, "the size of the result"};
}

Status RunTensorOp(const NetworkNode& node, const std::vector<TensorView>& inputs, float* out, int threads) {
  Shape shape;
  const Status status = TensorOpShape(node, inputs, &shape);
  if (!status.ok()) return status;
  std::vector<TensorValue> values;
  std::vector<float*> slots;
  for (const TensorView& input : inputs) {
    values.push_back({{static_cast<int>(slots.size()), RowMajor(input.shape)}, input.shape});
    slots.push_back(const_cast<float*>(input.data));  // steps read what they do not make
  }
  const TensorValue output{{static_cast<int>(slots.size()), RowMajor(shape)}, shape};
  slots.push_back(out);
  const auto step = MakeStep(node, values, output, Kernels());
  AlignedBuffer workspace;
  const int64_t each = step->workspace();
  int64_t bytes;
  if (!CheckedProduct({each, threads, 4}, &bytes) || (bytes > 0 && !workspace.Allocate(static_cast<size_t>(bytes))))
    return {Code::kOutOfMemory, "the workspace"};
  const FlushDenormals flush;
  step->Run({.slots = slots.data(),
             .input = nullptr,
             .outputs = nullptr,
             .workspace = workspace.as<float>(),
             .workspace_size = each,
             .threads = threads});
  return Cancelled() ? Status{Code::kCancelled, "cancelled"} : Ok();
}

}  // namespace repfuse
