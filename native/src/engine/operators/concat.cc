// Along an axis: of images along the channels.
#include <algorithm>
#include <vector>

#include "operator.h"

namespace repfuse {
namespace {

Status Result(const NetworkNode& node, std::span<const Shape> inputs, ValueType type, Shape* out) {
  if (node.ints.size() != 1 || node.ints[0] < 0 || node.ints[0] >= inputs[0].rank || (type == ValueType::kImages && node.ints[0] != 1))
    return Fails("the axis");
  const int axis = static_cast<int>(node.ints[0]);
  for (size_t i = 1; i < inputs.size(); ++i) {
    Shape same = inputs[i];
    if (same.rank != out->rank) return Fails("the shapes of what is concatenated");
    (*out)[axis] += same[axis];
    same[axis] = inputs[0][axis];
    if (same != inputs[0]) return Fails("the shapes of what is concatenated");
  }
  return Ok();
}

std::unique_ptr<Step> ImageStep(const StepParts& parts) {
  std::vector<Value> inputs;
  for (const ShapedValue& input : parts.inputs) inputs.push_back(input.value);
  return MakeStep(parts, "concat", [inputs, output = parts.output.value](const RunState& run) {
    const Layout& to = output.layout;
    const int64_t lanes = to.lanes(), width = to.shape.width;
    ForEach(to.shape.batch * to.shape.height, run.threads, [&](int64_t index, int) {
      const int64_t n = index / to.shape.height, y = index % to.shape.height;
      int64_t first = 0;  // channel
      for (const Value& input : inputs) {
        const Layout& from = input.layout;
        const int64_t channels = from.shape.channels;
        for (int64_t c = 0; c < channels; c += lanes) {
          const float* x = run.at(input) + from.at(n, c / lanes, y, 0);
          if (first % lanes == 0 && c + lanes <= channels) {  // whole blocks
            std::copy_n(x, width * lanes, run.at(output) + to.at(n, (first + c) / lanes, y, 0));
            continue;
          }
          for (int64_t lane = 0; lane < std::min(lanes, channels - c); ++lane) {
            float* row = run.at(output) + to.channel(n, first + c + lane, y);
            for (int64_t i = 0; i < width; ++i) row[i * lanes] = x[i * lanes + lane];
          }
        }
        first += channels;
      }
      ClearPaddedChannels(to, to.planes() - 1, run.at(output) + to.at(n, to.planes() - 1, y, 0));
    });
  });
}

std::unique_ptr<Step> TensorStep(const StepParts& parts) {
  const int axis = static_cast<int>(parts.node.ints[0]);
  const auto length = [&](const ShapedValue& value) { return value.shape.count(axis, value.shape.rank); };
  std::vector<std::pair<Value, int64_t>> inputs;  // with the elements that follow each other
  for (const ShapedValue& input : parts.inputs) inputs.emplace_back(input.value, length(input));
  const int64_t outer = parts.output.shape.count(0, axis), row = length(parts.output);
  return MakeStep(parts, "concat", [inputs, outer, row, output = parts.output.value](const RunState& run) {
    ForEach(outer, run.threads, [&](int64_t n, int) {
      float* y = run.at(output) + n * row;
      for (const auto& [input, count] : inputs) y = std::copy_n(run.at(input) + n * count, count, y);
    });
  });
}

std::unique_ptr<Step> ConcatStep(const StepParts& parts) { return parts.type == ValueType::kImages ? ImageStep(parts) : TensorStep(parts); }

}  // namespace

const Operator kConcat{"concat", {1, 1 << 20}, ValueTypes::kAsInputs, Result, ConcatStep};

}  // namespace repfuse
