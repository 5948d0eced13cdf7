// A tensor that the network holds.
#include <algorithm>
#include <vector>

#include "operator.h"

namespace repfuse {
namespace {

Status Result(const NetworkNode& node, std::span<const Shape>, ValueType, Shape* out) {
  *out = ShapeOfInts(node);
  return IsConstantOf(node, *out) ? Ok() : Fails("the size of a constant");
}

std::unique_ptr<Step> ConstantStep(const StepParts& parts) {
  const float* constant = parts.node.bias.as<float>();
  std::vector<float> values(constant, constant + parts.output.shape.count());
  return MakeStep(parts, "constant", [output = parts.output.value, values = std::move(values)](const RunState& run) {
    std::copy(values.begin(), values.end(), run.at(output));
  });
}

}  // namespace

const Operator kConstant{"constant", {0, 0}, ValueTypes::kTensors, Result, ConstantStep};

}  // namespace repfuse
