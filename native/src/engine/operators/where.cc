// One of two values by a third, as numpy broadcasts them.
#include "../walk.h"
#include "operator.h"

namespace repfuse {
namespace {

Status Result(const NetworkNode&, std::span<const Shape> inputs, ValueType, Shape* out) {
  Shape values;
  return Broadcast(inputs[1], inputs[2], &values) && Broadcast(inputs[0], values, out) ? Ok() : Fails("shapes that do not meet");
}

std::unique_ptr<Step> WhereStep(const StepParts& parts) {
  const Shape& result = parts.output.shape;
  const auto strides = [&](size_t input) { return BroadcastStrides(parts.inputs[input].shape, result); };
  const Walk<3> walk(result, {strides(0), strides(1), strides(2)});
  const std::array values{parts.inputs[0].value, parts.inputs[1].value, parts.inputs[2].value};
  return MakeStep(parts, "where", [=, output = parts.output.value](const RunState& run) {
    const float *condition = run.at(values[0]), *yes = run.at(values[1]), *no = run.at(values[2]);
    float* y = run.at(output);
    walk.ForRows(run.threads, [&](int64_t to, const std::array<int64_t, 3>& from, int64_t count, const std::array<int64_t, 3>& step) {
      for (int64_t i = 0; i < count; ++i)
        y[to + i] = condition[from[0] + i * step[0]] != 0 ? yes[from[1] + i * step[1]] : no[from[2] + i * step[2]];
    });
  });
}

}  // namespace

const Operator kWhere{"where", {3, 3}, ValueTypes::kTensors, Result, WhereStep};

}  // namespace repfuse
