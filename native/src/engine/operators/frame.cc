// A window onto the map moved by (top, left); outside lies a value for each channel. Negative paddings crop.
#include <algorithm>
#include <vector>

#include "operator.h"

namespace repfuse {
namespace {

Status Result(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  if (inputs[0].rank != 4) return Fails("an input that is no image");
  (*out)[2] += node.pad_top + node.pad_bottom;
  (*out)[3] += node.pad_left + node.pad_right;
  if (!IsBiasOf(node, inputs[0][1])) return Fails("the size of the fill");
  return (*out)[2] < 1 || (*out)[3] < 1 ? Fails("the size of a frame") : Ok();
}

std::unique_ptr<Step> FrameStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  const AlignedBuffer& bias = parts.node.bias;
  std::vector<float> values(bias.as<float>(), bias.as<float>() + bias.bytes() / sizeof(float));
  values.resize(static_cast<size_t>(output.layout.blocks() * kBlock));
  const int64_t top = parts.node.pad_top, left = parts.node.pad_left;
  return MakeStep(parts, "frame", [=](const RunState& run) {
    const ImageShape& from = input.layout.shape;
    ForRows(output.layout, run.threads, [&](int64_t n, int64_t block, int64_t y) {
      float* to = run.at(output) + output.layout.at(n, block, y, 0);
      const float* fill = values.data() + block * kBlock;
      const bool inside = y >= top && y < top + from.height;
      const float* row = inside ? run.at(input) + input.layout.at(n, block, y - top, 0) : nullptr;
      for (int64_t x = 0; x < output.layout.shape.width; ++x, to += kBlock) {
        const int64_t column = x - left;
        std::copy_n(row != nullptr && column >= 0 && column < from.width ? row + column * kBlock : fill, kBlock, to);
      }
    });
  });
}

}  // namespace

const Operator kFrame{"frame", {1, 1}, ValueTypes::kImages, Result, FrameStep};

}  // namespace repfuse
