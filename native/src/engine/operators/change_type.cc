// Images as a tensor, and back.
#include "../planes.h"
#include "operator.h"

namespace repfuse {
namespace {

Status Result(const NetworkNode&, std::span<const Shape> inputs, ValueType, Shape*) {
  return inputs[0].rank == 2 || inputs[0].rank == 4 ? Ok() : Fails("what is no image");
}

std::unique_ptr<Step> ImagesStep(const StepParts& parts) {
  return MakeStep(parts, "to images", [input = parts.inputs[0].value, output = parts.output.value](const RunState& run) {
    FromPlanes(run.at(input), output.layout, run.at(output), run.threads);
  });
}

std::unique_ptr<Step> TensorStep(const StepParts& parts) {
  return MakeStep(parts, "to tensor", [input = parts.inputs[0].value, output = parts.output.value](const RunState& run) {
    ToPlanes(run.at(input), input.layout, run.at(output), run.threads);
  });
}

}  // namespace

const Operator kToTensor{"toTensor", {1, 1}, ValueTypes::kToTensor, Result, TensorStep};
const Operator kToImages{"toImages", {1, 1}, ValueTypes::kToImages, Result, ImagesStep};

}  // namespace repfuse
