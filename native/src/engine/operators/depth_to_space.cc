// [channels * blocks, H, W] to [channels, H block_h, W block_w], and back.
#include <algorithm>

#include "operator.h"

namespace repfuse {
namespace {

Status Result(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  const Shape& x = inputs[0];
  const std::vector<int64_t>& ints = node.ints;
  if (x.rank != 4 || ints.size() != 3 || ints[0] < 1 || ints[1] < 1 || x[1] % (ints[0] * ints[1]) != 0) return Fails("the blocks");
  *out = Shape::Of({x[0], x[1] / (ints[0] * ints[1]), x[2] * ints[0], x[3] * ints[1]});
  return Ok();
}

// Each row of each channel of a value: body(image, channel, row, its first pixel).
template <typename Body>
void ForChannelRows(const RunState& run, const Value& value, const Body& body) {
  const Layout& to = value.layout;
  const int64_t lanes = to.lanes();
  ForRows(to, run.threads, [&](int64_t n, int64_t plane, int64_t y) {
    float* row = run.at(value) + to.at(n, plane, y, 0);
    for (int64_t lane = 0; lane < std::min(lanes, to.shape.channels - plane * lanes); ++lane) body(n, plane * lanes + lane, y, row + lane);
    ClearPaddedChannels(to, plane, row);
  });
}

std::unique_ptr<Step> DepthToSpaceStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  const Spread spread = SpreadOf(parts.node);
  return MakeStep(parts, "depth to space", [=](const RunState& run) {
    const Layout &in = input.layout, &to = output.layout;
    const int64_t lanes = to.lanes();
    ForChannelRows(run, output, [&](int64_t n, int64_t c, int64_t y, float* row) {
      for (int64_t j = 0; j < spread.width; ++j) {
        const int64_t source = spread.channel(c, y % spread.height * spread.width + j, to.shape.channels);
        const float* from = run.at(input) + in.channel(n, source, y / spread.height);
        for (int64_t x = 0; x < in.shape.width; ++x) row[(x * spread.width + j) * lanes] = from[x * in.pixel()];
      }
    });
  });
}

Status SpaceToDepthResult(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  const Shape& x = inputs[0];
  const std::vector<int64_t>& ints = node.ints;
  if (x.rank != 4 || ints.size() != 3 || ints[0] < 1 || ints[1] < 1 || x[2] % ints[0] != 0 || x[3] % ints[1] != 0)
    return Fails("the blocks");
  *out = Shape::Of({x[0], x[1] * ints[0] * ints[1], x[2] / ints[0], x[3] / ints[1]});
  return Ok();
}

std::unique_ptr<Step> SpaceToDepthStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  const Spread spread = SpreadOf(parts.node);
  return MakeStep(parts, "space to depth", [=](const RunState& run) {
    const Layout &in = input.layout, &to = output.layout;
    const int64_t lanes = to.lanes(), channels = in.shape.channels;
    ForChannelRows(run, output, [&](int64_t n, int64_t made, int64_t y, float* row) {
      const int64_t pixel = spread.channels_first ? made % spread.pixels() : made / channels;
      const int64_t c = spread.channels_first ? made / spread.pixels() : made % channels;
      const float* from = run.at(input) + in.channel(n, c, y * spread.height + pixel / spread.width) + pixel % spread.width * in.pixel();
      for (int64_t x = 0; x < to.shape.width; ++x) row[x * lanes] = from[x * spread.width * in.pixel()];
    });
  });
}

}  // namespace

Spread SpreadOf(const NetworkNode& node) { return {node.ints[0], node.ints[1], node.ints[2] != 0}; }

const Operator kDepthToSpace{"depthToSpace", {1, 1}, ValueTypes::kAsInputs, Result, DepthToSpaceStep};
const Operator kSpaceToDepth{"spaceToDepth", {1, 1}, ValueTypes::kAsInputs, SpaceToDepthResult, SpaceToDepthStep};

}  // namespace repfuse
