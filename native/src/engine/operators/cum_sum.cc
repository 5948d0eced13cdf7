// Running sums along an axis, in float64.
#include "operator.h"

namespace repfuse {
namespace {

Status Result(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape*) {
  return node.ints.size() == 3 && node.ints[0] >= 0 && node.ints[0] < inputs[0].rank ? Ok() : Fails("the axis");
}

std::unique_ptr<Step> CumSumStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  const Shape& x = parts.inputs[0].shape;
  const int axis = static_cast<int>(parts.node.ints[0]);
  const bool exclusive = parts.node.ints[1] != 0, reverse = parts.node.ints[2] != 0;
  const int64_t outer = x.count(0, axis), size = x[axis], inner = x.count(axis + 1, x.rank);
  return MakeStep(parts, "cumulative sum", [=](const RunState& run) {
    ForEach(outer * inner, run.threads, [&](int64_t line, int) {
      const int64_t first = line / inner * size * inner + line % inner;
      double sum = 0;
      for (int64_t i = 0; i < size; ++i) {
        const int64_t at = first + (reverse ? size - 1 - i : i) * inner;
        const double term = run.at(input)[at];
        run.at(output)[at] = static_cast<float>(exclusive ? sum : sum + term);
        sum += term;
      }
    });
  });
}

}  // namespace

const Operator kCumSum{"cumSum", {1, 1}, ValueTypes::kTensors, Result, CumSumStep};

}  // namespace repfuse
