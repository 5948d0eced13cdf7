// Padding and cropping of any axes of a tensor.
#include <algorithm>
#include <vector>

#include "../walk.h"
#include "operator.h"

namespace repfuse {
namespace {

Status Result(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  const Shape& x = inputs[0];
  const size_t rank = static_cast<size_t>(x.rank);
  if (node.ints.size() != 2 * rank) return Fails("the paddings");
  for (int axis = 0; axis < x.rank; ++axis) {
    const int64_t before = node.ints[static_cast<size_t>(axis)], after = node.ints[rank + static_cast<size_t>(axis)];
    // Reflection goes to the other edge at most.
    const int64_t most = node.pad_mode == PadMode::kReflect ? x[axis] - 1 : int64_t{1} << 31;
    if (std::max(before, after) > most) return Fails("a padding larger than its input");
    (*out)[axis] = x[axis] + before + after;
    if ((*out)[axis] < 1) return Fails("a padding");
  }
  return Ok();
}

// The index in the input that an index of the result reads, counted from the input's first; -1: the value outside.
int64_t Source(PadMode mode, int64_t index, int64_t size) {
  if (index >= 0 && index < size) return index;
  switch (mode) {
    case PadMode::kConstant: return -1;
    case PadMode::kEdge: return std::clamp<int64_t>(index, 0, size - 1);
    case PadMode::kReflect: return index < 0 ? -index : 2 * (size - 1) - index;
    case PadMode::kWrap: return (index % size + size) % size;
  }
  return -1;
}

std::unique_ptr<Step> PadStep(const StepParts& parts) {
  const NetworkNode& node = parts.node;
  const Shape shape = parts.output.shape;
  std::array<std::vector<int64_t>, kMaxRank> tables;  // by axis and index of the result
  for (size_t axis = 0; axis < static_cast<size_t>(shape.rank); ++axis) {
    const int64_t size = parts.inputs[0].shape.dims[axis];
    for (int64_t i = 0; i < shape.dims[axis]; ++i) tables[axis].push_back(Source(node.pad_mode, i - node.ints[axis], size));
  }
  const Value input = parts.inputs[0].value, output = parts.output.value;
  const Strides strides = DenseStrides(parts.inputs[0].shape);
  const float value = node.pad_value;
  return MakeStep(parts, "pad", [=](const RunState& run) {
    const int inner = shape.rank - 1;
    const int64_t length = inner < 0 ? 1 : shape[inner];
    ForEach(shape.count() / length, run.threads, [&](int64_t row, int) {
      int64_t offset = 0, rest = row;
      bool inside = true;
      for (int axis = inner - 1; axis >= 0; rest /= shape[axis--]) {
        const int64_t index = tables[static_cast<size_t>(axis)][static_cast<size_t>(rest % shape[axis])];
        inside = inside && index >= 0;
        offset += index * strides[static_cast<size_t>(axis)];
      }
      float* y = run.at(output) + row * length;
      if (inner < 0) *y = *run.at(input);
      else if (!inside) std::fill_n(y, length, value);
      else
        for (int64_t i = 0; i < length; ++i) {
          const int64_t index = tables[static_cast<size_t>(inner)][static_cast<size_t>(i)];
          y[i] = index < 0 ? value : run.at(input)[offset + index];
        }
    });
  });
}

}  // namespace

const Operator kPad{"pad", {1, 1}, ValueTypes::kTensors, Result, PadStep};

}  // namespace repfuse
