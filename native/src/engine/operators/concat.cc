// Along an axis: of images along the channels.
#include <algorithm>
#include <string>
#include <vector>

#include "../channel_picks.h"
#include "../lanes.h"
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

// Of those that are not made in their place.
std::unique_ptr<Step> ImageStep(const StepParts& parts) {
  struct Part {
    Value value;
    int64_t first;  // channel
  };
  std::vector<Part> copied;
  const Value output = parts.output.value;
  int64_t channels = 0;
  for (const ShapedValue& input : parts.inputs) {
    const Layout &from = input.value.layout, &to = output.layout;
    const bool in_place = input.value.slot == output.slot && channels % to.lanes() == 0 && from.first == to.first + channels / to.lanes();
    if (!in_place) copied.push_back({input.value, channels});
    channels += from.shape.channels;
  }
  std::string name = "concat";
  if (const size_t in_place = parts.inputs.size() - copied.size(); in_place > 0)
    name.append(", ").append(std::to_string(in_place)).append(" of ").append(std::to_string(parts.inputs.size())).append(" in place");
  std::vector<Value> values{output};
  for (const Part& part : copied) values.push_back(part.value);
  if (ChannelPicks::CanRead(values, output)) {
    std::vector<ChannelFrom> from;
    for (int64_t channel = 0; channel < channels; ++channel) from.push_back({0, channel});
    for (size_t i = 0; i < copied.size(); ++i) {
      for (int64_t c = 0; c < copied[i].value.layout.shape.channels; ++c) from[static_cast<size_t>(copied[i].first + c)] = {i + 1, c};
    }
    return MakeStep(parts, name, [picks = ChannelPicks(values, output, from, parts.kernels)](const RunState& run) { picks.Run(run); });
  }
  const bool is_last_copied = !copied.empty() && copied.back().first + copied.back().value.layout.shape.channels == channels;
  return MakeStep(parts, name, [=](const RunState& run) {
    const Layout& to = output.layout;
    ForEach(to.shape.batch * to.shape.height, run.threads, [&](int64_t index, int) {
      const int64_t n = index / to.shape.height, y = index % to.shape.height;
      for (const Part& part : copied) {
        const Layout& from = part.value.layout;
        for (int64_t c = 0, count = 0; c < from.shape.channels; c += count) {
          count = std::min({from.shape.channels - c, from.lanes() - c % from.lanes(), to.lanes() - (part.first + c) % to.lanes()});
          const float* x = run.at(part.value) + from.channel(n, c, y);
          CopyLanes({x, from.pixel(), run.at(output) + to.channel(n, part.first + c, y), to.pixel(), to.shape.width}, count);
        }
      }
      if (is_last_copied) ClearPaddedChannels(to, to.planes() - 1, run.at(output) + to.at(n, to.planes() - 1, y, 0));
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
