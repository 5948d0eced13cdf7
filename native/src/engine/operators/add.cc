// A sum of two images, and what is applied to it.
#include "../../kernels/blocked/finish_row.h"
#include "../epilogue.h"
#include "operator.h"

namespace repfuse {
namespace {

Status Result(const NetworkNode&, std::span<const Shape> inputs, ValueType, Shape*) {
  return inputs[1] == inputs[0] ? Ok() : Fails("the shapes of a sum");
}

std::unique_ptr<Step> AddStep(const StepParts& parts) {
  const Value first = parts.inputs[0].value, second = parts.inputs[1].value, output = parts.output.value;
  const Epilogue epilogue(parts.node, parts.kernels);
  return MakeStep(parts, "add", [=, finish = parts.kernels.blocked.finish](const RunState& run) {
    const int64_t width = output.layout.shape.width;
    ForRows(output.layout, run.threads, [&](int64_t n, int64_t block, int64_t y) {
      float* row = run.at(output) + output.layout.at(n, block, y, 0);
      finish({run.at(first) + first.layout.at(n, block, y, 0), run.at(second) + second.layout.at(n, block, y, 0), row, width * kBlock,
              epilogue.low(), epilogue.high()});
      epilogue.Finish(row, width, block, nullptr);
    });
  });
}

}  // namespace

const Operator kAdd{"add", {2, 2}, ValueTypes::kImages, Result, AddStep, Trait::kTakesActivation};

}  // namespace repfuse
