// Some of the channels of images, one image after the other, in any order.
#include <algorithm>
#include <vector>

#include "../channel_picks.h"
#include "operator.h"

namespace repfuse {
namespace {

Status Result(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  if (node.ints.empty()) return Fails("the channels");
  int64_t channels = 0;
  for (const Shape& x : inputs) {
    Shape same = x;
    if (x.rank != 4) return Fails("the channels");
    channels += x[1];
    same[1] = inputs[0][1];
    if (same != inputs[0]) return Fails("the shapes of what channels are selected of");
  }
  if (!std::all_of(node.ints.begin(), node.ints.end(), [&](int64_t c) { return c >= 0 && c < channels; })) return Fails("the channels");
  (*out)[1] = static_cast<int64_t>(node.ints.size());
  return Ok();
}

std::unique_ptr<Step> SelectStep(const StepParts& parts) {
  const Value output = parts.output.value;
  std::vector<Value> inputs;
  std::vector<ChannelFrom> all;
  for (const ShapedValue& input : parts.inputs) {
    for (int64_t channel = 0; channel < input.shape[1]; ++channel) all.push_back({inputs.size(), channel});
    inputs.push_back(input.value);
  }
  std::vector<ChannelFrom> channels;
  for (const int64_t channel : parts.node.ints) channels.push_back(all[static_cast<size_t>(channel)]);
  if (ChannelPicks::CanRead(inputs, output))
    return MakeStep(parts, "select channels",
                    [picks = ChannelPicks(inputs, output, channels, parts.kernels)](const RunState& run) { picks.Run(run); });
  return MakeStep(parts, "select channels in planes", [inputs, output, channels](const RunState& run) {
    const Layout& to = output.layout;
    ForRows(to, run.threads, [&](int64_t n, int64_t plane, int64_t y) {
      float* row = run.at(output) + to.at(n, plane, y, 0);
      const int64_t first = plane * to.lanes(), count = std::min(to.lanes(), to.shape.channels - first);
      for (int64_t lane = 0; lane < count; ++lane) {
        const ChannelFrom& from = channels[static_cast<size_t>(first + lane)];
        const Layout& in = inputs[from.input].layout;
        const float* x = run.at(inputs[from.input]) + in.channel(n, from.channel, y);
        for (int64_t i = 0; i < to.shape.width; ++i) row[i * to.lanes() + lane] = x[i * in.pixel()];
      }
      ClearPaddedChannels(to, plane, row);
    });
  });
}

}  // namespace

const Operator kSelectChannels{"selectChannels", {1, 1 << 20}, ValueTypes::kAsInputs, Result, SelectStep};

}  // namespace repfuse
