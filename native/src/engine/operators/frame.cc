// A window onto the map moved by (top, left); outside lies a value for each channel. Negative paddings crop.
#include <algorithm>
#include <vector>

#include "operator.h"

namespace repfuse {
namespace {

Status Result(const NetworkNode& node, std::span<const Shape> inputs, Form, Shape* out) {
  if (inputs[0].rank != 4) return Fails("an input that is no image");
  (*out)[2] += node.pad_top + node.pad_bottom;
  (*out)[3] += node.pad_left + node.pad_right;
  if (!IsBiasOf(node, inputs[0][1])) return Fails("the size of the fill");
  return (*out)[2] < 1 || (*out)[3] < 1 ? Fails("the size of a frame") : Ok();
}

class Frame final : public Step {
 public:
  explicit Frame(const StepParts& parts)
      : Step(parts.output.value), input_(parts.inputs[0].value), top_(parts.node.pad_top), left_(parts.node.pad_left) {
    const AlignedBuffer& fill = parts.node.bias;
    fill_.assign(fill.as<float>(), fill.as<float>() + fill.bytes() / sizeof(float));
    fill_.resize(static_cast<size_t>(output_.layout.blocks() * kBlock));
  }

  void Run(const RunState& run) const override {
    const ImageShape& from = input_.layout.shape;
    ForRows(output_.layout, run.threads, [&](int64_t n, int64_t block, int64_t y) {
      float* to = out(run) + output_.layout.at(n, block, y, 0);
      const float* fill = fill_.data() + block * kBlock;
      const bool inside = y >= top_ && y < top_ + from.height;
      const float* row = inside ? run.slots[input_.slot] + input_.layout.at(n, block, y - top_, 0) : nullptr;
      for (int64_t x = 0; x < output_.layout.shape.width; ++x, to += kBlock) {
        const int64_t column = x - left_;
        std::copy_n(row != nullptr && column >= 0 && column < from.width ? row + column * kBlock : fill, kBlock, to);
      }
    });
  }
  std::string kernel() const override { return "frame"; }

 private:
  Value input_;
  int64_t top_, left_;
  std::vector<float> fill_;
};

}  // namespace

const Operator kFrame{"frame", {1, 1}, Forms::kImages, Result, MakeStep<Frame>};

}  // namespace repfuse
