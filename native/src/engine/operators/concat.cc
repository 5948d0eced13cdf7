// Along an axis: of images along the channels.
#include <algorithm>
#include <vector>

#include "operator.h"

namespace repfuse {
namespace {

Status Result(const NetworkNode& node, std::span<const Shape> inputs, Form form, Shape* out) {
  if (node.ints.size() != 1 || node.ints[0] < 0 || node.ints[0] >= inputs[0].rank || (form == Form::kImages && node.ints[0] != 1))
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

class ConcatOfImages final : public Step {
 public:
  explicit ConcatOfImages(const StepParts& parts) : Step(parts.output.value) {
    for (const ShapedValue& input : parts.inputs) inputs_.push_back(input.value);
  }

  void Run(const RunState& run) const override {
    const Layout& to = output_.layout;
    const int64_t lanes = to.lanes(), width = to.shape.width;
    ForEach(to.shape.batch * to.shape.height, run.threads, [&](int64_t index, int) {
      const int64_t n = index / to.shape.height, y = index % to.shape.height;
      int64_t first = 0;  // channel
      for (const Value& input : inputs_) {
        const Layout& from = input.layout;
        const int64_t channels = from.shape.channels;
        for (int64_t c = 0; c < channels; c += lanes) {
          const float* x = run.slots[input.slot] + from.at(n, c / lanes, y, 0);
          if (first % lanes == 0 && c + lanes <= channels) {  // whole blocks
            std::copy_n(x, width * lanes, out(run) + to.at(n, (first + c) / lanes, y, 0));
            continue;
          }
          for (int64_t lane = 0; lane < std::min(lanes, channels - c); ++lane) {
            float* row = out(run) + to.channel(n, first + c + lane, y);
            for (int64_t i = 0; i < width; ++i) row[i * lanes] = x[i * lanes + lane];
          }
        }
        first += channels;
      }
      ClearPaddedChannels(to, to.planes() - 1, out(run) + to.at(n, to.planes() - 1, y, 0));
    });
  }
  std::string kernel() const override { return "concat"; }

 private:
  std::vector<Value> inputs_;
};

class ConcatOfTensors final : public Step {
 public:
  explicit ConcatOfTensors(const StepParts& parts) : Step(parts.output.value) {
    const int axis = static_cast<int>(parts.node.ints[0]);
    outer_ = parts.output.shape.count(0, axis);
    for (const ShapedValue& input : parts.inputs) parts_.push_back({input.value.slot, input.shape.count(axis, input.shape.rank)});
    length_ = parts.output.shape.count(axis, parts.output.shape.rank);
  }
  void Run(const RunState& run) const override {
    ForEach(outer_, run.threads, [&](int64_t n, int) {
      float* y = out(run) + n * length_;
      for (const Part& part : parts_) y = std::copy_n(run.slots[part.slot] + n * part.length, part.length, y);
    });
  }
  std::string kernel() const override { return "concat"; }

 private:
  struct Part {
    int slot;
    int64_t length;
  };
  std::vector<Part> parts_;
  int64_t outer_, length_;
};

std::unique_ptr<Step> ConcatStep(const StepParts& parts) {
  return parts.form == Form::kImages ? MakeStep<ConcatOfImages>(parts) : MakeStep<ConcatOfTensors>(parts);
}

}  // namespace

const Operator kConcat{"concat", {1, 1 << 20}, Forms::kAsInputs, Result, ConcatStep};

}  // namespace repfuse
