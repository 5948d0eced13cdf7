// A tensor that the network holds.
#include <algorithm>
#include <vector>

#include "operator.h"

namespace repfuse {
namespace {

Status Result(const NetworkNode& node, std::span<const Shape>, Form, Shape* out) {
  *out = ShapeOfInts(node);
  return IsConstantOf(node, *out) ? Ok() : Fails("the size of a constant");
}

class Constant final : public Step {
 public:
  explicit Constant(const StepParts& parts)
      : Step(parts.output.value), values_(parts.node.bias.as<float>(), parts.node.bias.as<float>() + parts.output.shape.count()) {}
  void Run(const RunState& run) const override { std::copy(values_.begin(), values_.end(), out(run)); }
  std::string kernel() const override { return "constant"; }

 private:
  std::vector<float> values_;
};

}  // namespace

const Operator kConstant{"constant", {0, 0}, Forms::kTensors, Result, MakeStep<Constant>};

}  // namespace repfuse
