// Softmax over the channels of images, and over one axis of a tensor or all from it on.
#include "../../kernels/elementwise/softmax.h"

#include "operator.h"

namespace repfuse {
namespace {

Status AxisResult(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape*) {
  const bool fits = node.ints.size() == 2 && node.ints[0] >= 0 && node.ints[0] < std::max(inputs[0].rank, 1);
  return fits ? Ok() : Fails("the axis");
}

std::unique_ptr<Step> ImageStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  return MakeStep(parts, "softmax", [=](const RunState& run) {
    const Layout &in = input.layout, &to = output.layout;
    ForEach(to.shape.batch * to.shape.height, run.threads, [&](int64_t index, int) {
      const int64_t n = index / to.shape.height, y = index % to.shape.height;
      for (int64_t x = 0; x < to.shape.width; ++x) {
        const float* from = run.at(input) + in.at(n, 0, y, x);
        float* result = run.at(output) + to.at(n, 0, y, x);
        Softmax(
            to.shape.channels, [&](int64_t c) { return static_cast<double>(from[c / kBlock * in.plane() + c % kBlock]); },
            [&](int64_t c) -> float& { return result[c / kBlock * to.plane() + c % kBlock]; });
      }
      ClearPaddedChannels(to, to.planes() - 1, run.at(output) + to.at(n, to.planes() - 1, y, 0));
    });
  });
}

std::unique_ptr<Step> AxisStep(const StepParts& parts) {
  const Shape& shape = parts.inputs[0].shape;
  const int axis = static_cast<int>(parts.node.ints[0]);
  const int end = parts.node.ints[1] != 0 || shape.rank == 0 ? shape.rank : axis + 1;
  const int64_t outer = shape.count(0, axis), length = shape.count(axis, end), inner = shape.count(end, shape.rank);
  const Value input = parts.inputs[0].value, output = parts.output.value;
  return MakeStep(parts, "softmax over an axis", [=](const RunState& run) {
    ForEach(outer * inner, run.threads, [&](int64_t index, int) {
      const int64_t first = index / inner * length * inner + index % inner;
      const float* x = run.at(input) + first;
      float* y = run.at(output) + first;
      Softmax(
          length, [&](int64_t i) { return static_cast<double>(x[i * inner]); }, [&](int64_t i) -> float& { return y[i * inner]; });
    });
  });
}

}  // namespace

const Operator kSoftmax{"softmax", {1, 1}, ValueTypes::kImages, SameShape, ImageStep};
const Operator kSoftmaxOverAxis{"softmaxAxis", {1, 1}, ValueTypes::kTensors, AxisResult, AxisStep};

}  // namespace repfuse
