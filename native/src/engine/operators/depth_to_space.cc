// [channels * blocks, H, W] to [channels, H block_h, W block_w].
#include <algorithm>

#include "operator.h"

namespace repfuse {
namespace {

Status Result(const NetworkNode& node, std::span<const Shape> inputs, Form, Shape* out) {
  const Shape& x = inputs[0];
  const std::vector<int64_t>& ints = node.ints;
  if (x.rank != 4 || ints.size() != 3 || ints[0] < 1 || ints[1] < 1 || x[1] % (ints[0] * ints[1]) != 0) return Fails("the blocks");
  *out = Shape::Of({x[0], x[1] / (ints[0] * ints[1]), x[2] * ints[0], x[3] * ints[1]});
  return Ok();
}

class DepthToSpace final : public Step {
 public:
  explicit DepthToSpace(const StepParts& parts)
      : Step(parts.output.value),
        input_(parts.inputs[0].value),
        height_(parts.node.ints[0]),
        width_(parts.node.ints[1]),
        channels_first_(parts.node.ints[2] != 0) {}

  void Run(const RunState& run) const override {
    const Layout &in = input_.layout, &to = output_.layout;
    const int64_t lanes = to.lanes(), channels = to.shape.channels, blocks = height_ * width_;
    ForRows(to, run.threads, [&](int64_t n, int64_t plane, int64_t y) {
      float* row = out(run) + to.at(n, plane, y, 0);
      for (int64_t lane = 0; lane < std::min(lanes, channels - plane * lanes); ++lane) {
        const int64_t c = plane * lanes + lane;
        for (int64_t j = 0; j < width_; ++j) {
          const int64_t block = y % height_ * width_ + j, source = channels_first_ ? c * blocks + block : block * channels + c;
          const float* from = run.slots[input_.slot] + in.channel(n, source, y / height_);
          for (int64_t x = 0; x < in.shape.width; ++x) row[(x * width_ + j) * lanes + lane] = from[x * in.pixel()];
        }
      }
      ClearPaddedChannels(to, plane, row);
    });
  }
  std::string kernel() const override { return "depth to space"; }

 private:
  Value input_;
  int64_t height_, width_;
  bool channels_first_;
};

}  // namespace

const Operator kDepthToSpace{"depthToSpace", {1, 1}, Forms::kAsInputs, Result, MakeStep<DepthToSpace>};

}  // namespace repfuse
