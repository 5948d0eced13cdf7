// Some of an image's channels, in any order.
#include <algorithm>
#include <vector>

#include "../channel_picks.h"
#include "operator.h"

namespace repfuse {
namespace {

Status Result(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  const Shape& x = inputs[0];
  if (x.rank != 4 || node.ints.empty()) return Fails("the channels");
  if (!std::all_of(node.ints.begin(), node.ints.end(), [&](int64_t c) { return c >= 0 && c < x[1]; })) return Fails("the channels");
  (*out)[1] = static_cast<int64_t>(node.ints.size());
  return Ok();
}

std::unique_ptr<Step> SelectStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  if (ChannelPicks::CanRead({input}, output)) {
    std::vector<ChannelFrom> channels;
    for (const int64_t channel : parts.node.ints) channels.push_back({0, channel});
    return MakeStep(parts, "select channels",
                    [picks = ChannelPicks({input}, output, channels, parts.kernels)](const RunState& run) { picks.Run(run); });
  }
  std::vector<int64_t> from;  // of each channel, from the first channel of its row
  for (const int64_t channel : parts.node.ints) from.push_back(input.layout.channel(0, channel, 0) - input.layout.at(0, 0, 0, 0));
  return MakeStep(parts, "select channels in planes", [input, output, from](const RunState& run) {
    const Layout &in = input.layout, &to = output.layout;
    const int64_t lanes = to.lanes(), pixel = in.pixel();
    ForRows(to, run.threads, [&](int64_t n, int64_t plane, int64_t y) {
      float* row = run.at(output) + to.at(n, plane, y, 0);
      const float* x = run.at(input) + in.at(n, 0, y, 0);
      const int64_t* places = from.data() + plane * lanes;
      const int64_t count = std::min(lanes, to.shape.channels - plane * lanes);
      for (int64_t i = 0; i < to.shape.width; ++i) {
        for (int64_t lane = 0; lane < count; ++lane) row[i * lanes + lane] = x[i * pixel + places[lane]];
      }
      ClearPaddedChannels(to, plane, row);
    });
  });
}

}  // namespace

const Operator kSelectChannels{"selectChannels", {1, 1}, ValueTypes::kImages, Result, SelectStep};

}  // namespace repfuse
