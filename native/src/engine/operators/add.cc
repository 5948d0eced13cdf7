// A sum of two images, and what is applied to it.
#include "activation.h"
#include "operator.h"

namespace repfuse {
namespace {

Status Result(const NetworkNode&, std::span<const Shape> inputs, Form, Shape*) {
  return inputs[1] == inputs[0] ? Ok() : Fails("the shapes of a sum");
}

class Add final : public Step {
 public:
  explicit Add(const StepParts& parts)
      : Step(parts.output.value),
        first_(parts.inputs[0].value),
        second_(parts.inputs[1].value),
        add_(parts.kernels.add),
        after_(parts.node, parts.kernels) {}

  void Run(const RunState& run) const override {
    const size_t width = static_cast<size_t>(output_.layout.shape.width * kBlock);
    ForRows(output_.layout, run.threads, [&](int64_t n, int64_t block, int64_t y) {
      float* row = out(run) + output_.layout.at(n, block, y, 0);
      add_(run.slots[first_.slot] + first_.layout.at(n, block, y, 0), run.slots[second_.slot] + second_.layout.at(n, block, y, 0), row,
           width);
      if (after_) after_(row, row, width);
    });
  }
  std::string kernel() const override { return "add"; }

 private:
  Value first_, second_;
  BinaryF32 add_;
  AppliedActivation after_;
};

}  // namespace

const Operator kAdd{"add", {2, 2}, Forms::kImages, Result, MakeStep<Add>, Trait::kTakesActivation};

}  // namespace repfuse
