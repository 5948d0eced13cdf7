// Images as a tensor, and back.
#include "../planes.h"
#include "operator.h"

namespace repfuse {
namespace {

Status Result(const NetworkNode&, std::span<const Shape> inputs, Form, Shape*) {
  return inputs[0].rank == 2 || inputs[0].rank == 4 ? Ok() : Fails("what is no image");
}

class ToImages final : public Step {
 public:
  explicit ToImages(const StepParts& parts) : Step(parts.output.value), input_(parts.inputs[0].value) {}
  void Run(const RunState& run) const override { FromPlanes(run.slots[input_.slot], output_.layout, out(run), run.threads); }
  std::string kernel() const override { return "to images"; }

 private:
  Value input_;
};

class ToTensor final : public Step {
 public:
  explicit ToTensor(const StepParts& parts) : Step(parts.output.value), input_(parts.inputs[0].value) {}
  void Run(const RunState& run) const override { ToPlanes(run.slots[input_.slot], input_.layout, out(run), run.threads); }
  std::string kernel() const override { return "to tensor"; }

 private:
  Value input_;
};

}  // namespace

const Operator kToTensor{"toTensor", {1, 1}, Forms::kToTensor, Result, MakeStep<ToTensor>};
const Operator kToImages{"toImages", {1, 1}, Forms::kToImages, Result, MakeStep<ToImages>};

}  // namespace repfuse
