// Means in float64 over the axes that the node names.
#include <algorithm>
#include <vector>

#include "../walk.h"
#include "operator.h"

namespace repfuse {
namespace {

Status Result(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  const Shape& x = inputs[0];
  if (node.ints.empty()) return Fails("the axes");
  *out = {};
  for (size_t i = 1; i < node.ints.size(); ++i) {
    if (node.ints[i] < 0 || node.ints[i] >= x.rank) return Fails("an axis");
  }
  for (int axis = 0; axis < x.rank; ++axis) {
    const bool reduced = std::find(node.ints.begin() + 1, node.ints.end(), axis) != node.ints.end();
    if (!reduced) (*out)[out->rank++] = x[axis];
    else if (node.ints[0] != 0) (*out)[out->rank++] = 1;
  }
  return Ok();
}

struct Axes {
  Shape shape;
  Strides strides{};

  int64_t at(int64_t index) const {
    int64_t offset = 0;
    for (int axis = shape.rank - 1; axis >= 0; index /= shape[axis--]) offset += index % shape[axis] * strides[static_cast<size_t>(axis)];
    return offset;
  }
};

std::unique_ptr<Step> MeanStep(const StepParts& parts) {
  const std::vector<int64_t>& ints = parts.node.ints;
  const Shape& x = parts.inputs[0].shape;
  const Strides dense = DenseStrides(x);
  Axes kept, reduced;
  for (int axis = 0; axis < x.rank; ++axis) {
    Axes& axes = std::find(ints.begin() + 1, ints.end(), axis) != ints.end() ? reduced : kept;
    axes.strides[static_cast<size_t>(axes.shape.rank)] = dense[static_cast<size_t>(axis)];
    axes.shape[axes.shape.rank++] = x[axis];
  }
  return MakeStep(parts, "mean", [=, input = parts.inputs[0].value, output = parts.output.value](const RunState& run) {
    const int64_t terms = reduced.shape.count();
    ForEach(kept.shape.count(), run.threads, [&](int64_t index, int) {
      const float* x = run.at(input) + kept.at(index);
      double sum = 0;
      for (int64_t term = 0; term < terms; ++term) sum += x[reduced.at(term)];
      run.at(output)[index] = static_cast<float>(sum / static_cast<double>(terms));
    });
  });
}

}  // namespace

const Operator kReduceMean{"reduceMean", {1, 1}, ValueTypes::kTensors, Result, MeanStep};

}  // namespace repfuse
