// What leaves the elements in their row-major order: flatten, reshape, squeeze, unsqueeze.
#include <algorithm>

#include "operator.h"
#include "repfuse/checked.h"

namespace repfuse {
namespace {

Status FlattenResult(const NetworkNode& node, std::span<const Shape> inputs, ValueType type, Shape* out) {
  const Shape& x = inputs[0];
  const int64_t axis = node.ints.empty() ? 1 : node.ints[0];
  if (axis < 0 || axis > x.rank || (type == ValueType::kImages && axis != 1)) return Fails("the axis");
  *out = Shape::Of({x.count(0, static_cast<int>(axis)), x.count(static_cast<int>(axis), x.rank)});
  return Ok();
}

Status ReshapeResult(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  const Shape& x = inputs[0];
  if (node.ints.size() > kMaxRank) return Fails("the rank");
  *out = ShapeOfInts(node);
  int rest = -1;
  for (int axis = 0; axis < out->rank; ++axis) {
    int64_t& size = (*out)[axis];
    if (size == 0 && axis < x.rank) size = x[axis];
    if (size != -1) continue;
    if (rest >= 0) return Fails("the sizes");
    rest = axis;
    size = 1;
  }
  const Checked known = out->checked_count();
  if (rest >= 0 && known.ok() && known.value() > 0) (*out)[rest] = x.count() / known.value();
  const Checked count = out->checked_count();
  return count.ok() && count.value() == x.count() ? Ok() : Fails("the sizes");
}

// Axes that appear or vanish.
template <bool kAppear>
Status UnitAxesResult(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  const Shape& x = inputs[0];
  const auto named = [&](int64_t axis) { return std::count(node.ints.begin(), node.ints.end(), axis) == 1; };
  const int rank = kAppear ? x.rank + static_cast<int>(node.ints.size()) : x.rank;
  if (rank > kMaxRank) return Fails("the rank");
  for (const int64_t axis : node.ints) {
    if (axis < 0 || axis >= rank || !named(axis)) return Fails("an axis");
    if (!kAppear && x[static_cast<int>(axis)] != 1) return Fails("an axis that is not 1");
  }
  *out = {};
  int next = 0;
  for (int axis = 0; axis < rank; ++axis) {
    if (kAppear) (*out)[out->rank++] = named(axis) ? 1 : x[next++];
    else if (!named(axis)) (*out)[out->rank++] = x[axis];
  }
  return Ok();
}

// Of tensors.
std::unique_ptr<Step> Copy(const StepParts& parts) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  return MakeStep(parts, parts.node.op->name, [input, output, count = parts.output.shape.count()](const RunState& run) {
    std::copy_n(run.at(input), count, run.at(output));
  });
}

// Of images: [C, H, W] to one vector.
std::unique_ptr<Step> FlattenStep(const StepParts& parts) {
  if (parts.type == ValueType::kTensor) return Copy(parts);
  const Value input = parts.inputs[0].value, output = parts.output.value;
  return MakeStep(parts, "flatten", [=](const RunState& run) {
    const Layout &in = input.layout, &to = output.layout;
    const ImageShape& s = in.shape;
    ForEach(s.batch * s.channels, run.threads, [&](int64_t index, int) {
      const int64_t n = index / s.channels, c = index % s.channels;
      for (int64_t y = 0; y < s.height; ++y) {
        for (int64_t x = 0; x < s.width; ++x) {
          const int64_t feature = (c * s.height + y) * s.width + x;
          run.at(output)[to.channel(n, feature, 0)] = run.at(input)[in.channel(n, c, y) + x * in.pixel()];
        }
      }
    });
    for (int64_t n = 0; n < s.batch; ++n) ClearPaddedChannels(to, to.planes() - 1, run.at(output) + to.at(n, to.planes() - 1, 0, 0));
  });
}

}  // namespace

const Operator kFlatten{"flatten", {1, 1}, ValueTypes::kAsInputs, FlattenResult, FlattenStep, Trait::kKeepsOrder};
const Operator kReshape{"reshape", {1, 1}, ValueTypes::kTensors, ReshapeResult, Copy, Trait::kKeepsOrder};
const Operator kSqueeze{"squeeze", {1, 1}, ValueTypes::kTensors, UnitAxesResult<false>, Copy, Trait::kKeepsOrder};
const Operator kUnsqueeze{"unsqueeze", {1, 1}, ValueTypes::kTensors, UnitAxesResult<true>, Copy, Trait::kKeepsOrder};

}  // namespace repfuse
