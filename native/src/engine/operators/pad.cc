// Padding and cropping of any axes of a tensor.
#include <algorithm>
#include <vector>

#include "../walk.h"
#include "operator.h"

namespace repfuse {
namespace {

Status Result(const NetworkNode& node, std::span<const Shape> inputs, Form, Shape* out) {
  const Shape& x = inputs[0];
  const size_t rank = static_cast<size_t>(x.rank);
  if (node.ints.size() != 2 * rank) return Fails("the paddings");
  for (int axis = 0; axis < x.rank; ++axis) {
    const int64_t before = node.ints[static_cast<size_t>(axis)], after = node.ints[rank + static_cast<size_t>(axis)];
    // Reflection goes to the other edge at most.
    const int64_t most = node.pad_mode == PadMode::kReflect ? x[axis] - 1 : int64_t{1} << 31;
    if (std::max(before, after) > most) return Fails("a padding larger than its input");
    (*out)[axis] = x[axis] + before + after;
    if ((*out)[axis] < 1) return Fails("a padding");
  }
  return Ok();
}

// For each axis the index in the input that each index of the result reads; -1: the value outside.
class Pad final : public Step {
 public:
  explicit Pad(const StepParts& parts)
      : Step(parts.output.value),
        slot_(parts.inputs[0].value.slot),
        value_(parts.node.pad_value),
        shape_(parts.output.shape),
        strides_(DenseStrides(parts.inputs[0].shape)) {
    const NetworkNode& node = parts.node;
    for (int axis = 0; axis < shape_.rank; ++axis) {
      const int64_t size = parts.inputs[0].shape[axis];
      std::vector<int64_t>& table = tables_[static_cast<size_t>(axis)];
      for (int64_t i = 0; i < shape_[axis]; ++i) table.push_back(Source(node.pad_mode, i - node.ints[static_cast<size_t>(axis)], size));
    }
  }

  void Run(const RunState& run) const override {
    const int inner = shape_.rank - 1;
    const int64_t length = inner < 0 ? 1 : shape_[inner];
    ForEach(shape_.count() / length, run.threads, [&](int64_t row, int) {
      int64_t offset = 0, rest = row;
      bool inside = true;
      for (int axis = inner - 1; axis >= 0; rest /= shape_[axis--]) {
        const int64_t index = tables_[static_cast<size_t>(axis)][static_cast<size_t>(rest % shape_[axis])];
        inside = inside && index >= 0;
        offset += index * strides_[static_cast<size_t>(axis)];
      }
      float* y = out(run) + row * length;
      if (inner < 0) *y = *run.slots[slot_];
      else if (!inside) std::fill_n(y, length, value_);
      else
        for (int64_t i = 0; i < length; ++i) {
          const int64_t index = tables_[static_cast<size_t>(inner)][static_cast<size_t>(i)];
          y[i] = index < 0 ? value_ : run.slots[slot_][offset + index];
        }
    });
  }
  std::string kernel() const override { return "pad"; }

 private:
  static int64_t Source(PadMode mode, int64_t index, int64_t size) {
    if (index >= 0 && index < size) return index;
    switch (mode) {
      case PadMode::kConstant: return -1;
      case PadMode::kEdge: return std::clamp<int64_t>(index, 0, size - 1);
      case PadMode::kReflect: return index < 0 ? -index : 2 * (size - 1) - index;
      case PadMode::kWrap: return (index % size + size) % size;
    }
    return -1;
  }

  int slot_;
  float value_;
  Shape shape_;
  Strides strides_;
  std::array<std::vector<int64_t>, kMaxRank> tables_;
};

}  // namespace

const Operator kPad{"pad", {1, 1}, Forms::kTensors, Result, MakeStep<Pad>};

}  // namespace repfuse
