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

std::unique_ptr<Step> DepthToSpaceStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  const auto [height, width, channels_first] = SpreadOf(parts.node);
  return MakeStep(parts, "depth to space",
                  [input, output, height = height, width = width, channels_first = channels_first](const RunState& run) {
                    const Layout &in = input.layout, &to = output.layout;
                    const int64_t lanes = to.lanes(), channels = to.shape.channels, blocks = height * width;
                    ForRows(to, run.threads, [&](int64_t n, int64_t plane, int64_t y) {
                      float* row = run.at(output) + to.at(n, plane, y, 0);
                      for (int64_t lane = 0; lane < std::min(lanes, channels - plane * lanes); ++lane) {
                        const int64_t c = plane * lanes + lane;
                        for (int64_t j = 0; j < width; ++j) {
                          const int64_t block = y % height * width + j, source = channels_first ? c * blocks + block : block * channels + c;
                          const float* from = run.at(input) + in.channel(n, source, y / height);
                          for (int64_t x = 0; x < in.shape.width; ++x) row[(x * width + j) * lanes + lane] = from[x * in.pixel()];
                        }
                      }
                      ClearPaddedChannels(to, plane, row);
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
  const auto [height, width, channels_first] = SpreadOf(parts.node);
  return MakeStep(parts, "space to depth",
                  [input, output, height = height, width = width, channels_first = channels_first](const RunState& run) {
                    const Layout &in = input.layout, &to = output.layout;
                    const int64_t lanes = to.lanes(), channels = in.shape.channels, blocks = height * width;
                    ForRows(to, run.threads, [&](int64_t n, int64_t plane, int64_t y) {
                      float* row = run.at(output) + to.at(n, plane, y, 0);
                      for (int64_t lane = 0; lane < std::min(lanes, to.shape.channels - plane * lanes); ++lane) {
                        const int64_t made = plane * lanes + lane, block = channels_first ? made % blocks : made / channels,
                                      c = channels_first ? made / blocks : made % channels;
                        const float* from = run.at(input) + in.channel(n, c, y * height + block / width) + block % width * in.pixel();
                        for (int64_t x = 0; x < to.shape.width; ++x) row[x * lanes + lane] = from[x * width * in.pixel()];
                      }
                      ClearPaddedChannels(to, plane, row);
                    });
                  });
}

}  // namespace

Spread SpreadOf(const NetworkNode& node) { return {node.ints[0], node.ints[1], node.ints[2] != 0}; }

const Operator kDepthToSpace{"depthToSpace", {1, 1}, ValueTypes::kAsInputs, Result, DepthToSpaceStep};
const Operator kSpaceToDepth{"spaceToDepth", {1, 1}, ValueTypes::kAsInputs, SpaceToDepthResult, SpaceToDepthStep};

}  // namespace repfuse
