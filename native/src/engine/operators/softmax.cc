// Softmax over the channels of images, and over one axis of a tensor or all from it on.
#include "../../kernels/elementwise/softmax.h"

#include "operator.h"

namespace repfuse {
namespace {

Status AxisResult(const NetworkNode& node, std::span<const Shape> inputs, Form, Shape*) {
  const bool fits = node.ints.size() == 2 && node.ints[0] >= 0 && node.ints[0] < std::max(inputs[0].rank, 1);
  return fits ? Ok() : Fails("the axis");
}

class SoftmaxOfImages final : public Step {
 public:
  explicit SoftmaxOfImages(const StepParts& parts) : Step(parts.output.value), input_(parts.inputs[0].value) {}

  void Run(const RunState& run) const override {
    const Layout &in = input_.layout, &to = output_.layout;
    ForEach(to.shape.batch * to.shape.height, run.threads, [&](int64_t index, int) {
      const int64_t n = index / to.shape.height, y = index % to.shape.height;
      for (int64_t x = 0; x < to.shape.width; ++x) {
        const float* from = run.slots[input_.slot] + in.at(n, 0, y, x);
        float* result = out(run) + to.at(n, 0, y, x);
        Softmax(
            to.shape.channels, [&](int64_t c) { return static_cast<double>(from[c / kBlock * in.plane() + c % kBlock]); },
            [&](int64_t c) -> float& { return result[c / kBlock * to.plane() + c % kBlock]; });
      }
      ClearPaddedChannels(to, to.planes() - 1, out(run) + to.at(n, to.planes() - 1, y, 0));
    });
  }
  std::string kernel() const override { return "softmax"; }

 private:
  Value input_;
};

class SoftmaxOfTensors final : public Step {
 public:
  explicit SoftmaxOfTensors(const StepParts& parts) : Step(parts.output.value), slot_(parts.inputs[0].value.slot) {
    const Shape& shape = parts.inputs[0].shape;
    const int axis = static_cast<int>(parts.node.ints[0]);
    const int end = parts.node.ints[1] != 0 || shape.rank == 0 ? shape.rank : axis + 1;
    outer_ = shape.count(0, axis);
    length_ = shape.count(axis, end);
    inner_ = shape.count(end, shape.rank);
  }
  void Run(const RunState& run) const override {
    ForEach(outer_ * inner_, run.threads, [&](int64_t index, int) {
      const int64_t first = index / inner_ * length_ * inner_ + index % inner_;
      const float* x = run.slots[slot_] + first;
      float* y = out(run) + first;
      Softmax(
          length_, [&](int64_t i) { return static_cast<double>(x[i * inner_]); }, [&](int64_t i) -> float& { return y[i * inner_]; });
    });
  }
  std::string kernel() const override { return "softmax over an axis"; }

 private:
  int slot_;
  int64_t outer_, length_, inner_;
};

}  // namespace

const Operator kSoftmax{"softmax", {1, 1}, Forms::kImages, SameShape, MakeStep<SoftmaxOfImages>};
const Operator kSoftmaxOverAxis{"softmaxAxis", {1, 1}, Forms::kTensors, AxisResult, MakeStep<SoftmaxOfTensors>};

}  // namespace repfuse
