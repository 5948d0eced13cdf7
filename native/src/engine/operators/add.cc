// A sum of two images, and what is applied to it.
#include "activation.h"
#include "operator.h"

namespace repfuse {
namespace {

Status Result(const NetworkNode&, std::span<const Shape> inputs, ValueType, Shape*) {
  return inputs[1] == inputs[0] ? Ok() : Fails("the shapes of a sum");
}

std::unique_ptr<Step> AddStep(const StepParts& parts) {
  const Value first = parts.inputs[0].value, second = parts.inputs[1].value, output = parts.output.value;
  const BinaryF32 add = parts.kernels.add;
  const AppliedActivation after(parts.node, parts.kernels);
  return MakeStep(parts, "add", [=](const RunState& run) {
    const size_t width = static_cast<size_t>(output.layout.shape.width * kBlock);
    ForRows(output.layout, run.threads, [&](int64_t n, int64_t block, int64_t y) {
      float* row = run.at(output) + output.layout.at(n, block, y, 0);
      add(run.at(first) + first.layout.at(n, block, y, 0), run.at(second) + second.layout.at(n, block, y, 0), row, width);
      if (after) after(row, row, width);
    });
  });
}

}  // namespace

const Operator kAdd{"add", {2, 2}, ValueTypes::kImages, Result, AddStep, Trait::kTakesActivation};

}  // namespace repfuse
