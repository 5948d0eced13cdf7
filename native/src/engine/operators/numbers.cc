// Sizes of the inputs as a value to compute with.
#include <algorithm>
#include <vector>

#include "operator.h"

namespace repfuse {
namespace {

// Ints: whether it is one number, then the numbers.
Status Result(const NetworkNode& node, std::span<const Shape>, ValueType, Shape* out) {
  if (node.ints.size() < 2 || (node.ints[0] != 0 && node.ints.size() != 2)) return Fails("numbers");
  *out = node.ints[0] != 0 ? Shape{} : Shape::Of({static_cast<int64_t>(node.ints.size()) - 1});
  return Ok();
}

std::unique_ptr<Step> NumbersStep(const StepParts& parts) {
  std::vector<float> values(parts.node.ints.size() - 1);
  std::transform(parts.node.ints.begin() + 1, parts.node.ints.end(), values.begin(),
                 [](int64_t number) { return static_cast<float>(number); });
  return MakeStep(parts, "numbers", [output = parts.output.value, values = std::move(values)](const RunState& run) {
    std::copy(values.begin(), values.end(), run.at(output));
  });
}

}  // namespace

const Operator kNumbers{"numbers", {0, 0}, ValueTypes::kTensors, Result, NumbersStep};

}  // namespace repfuse
