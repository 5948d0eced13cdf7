// What reads each element of the result at a place of its own in the input, at equal distances along an axis: transpose, slice, expand.
#include <algorithm>

#include "../channel_picks.h"
#include "../lanes.h"
#include "../walk.h"
#include "operator.h"

namespace repfuse {
namespace {

Status TransposeResult(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  const Shape& x = inputs[0];
  if (node.ints.size() != static_cast<size_t>(x.rank)) return Fails("the permutation");
  std::array<bool, kMaxRank> seen{};
  for (int i = 0; i < x.rank; ++i) {
    const int64_t from = node.ints[static_cast<size_t>(i)];
    if (from < 0 || from >= x.rank || seen[static_cast<size_t>(from)]) return Fails("the permutation");
    seen[static_cast<size_t>(from)] = true;
    (*out)[i] = x[static_cast<int>(from)];
  }
  return Ok();
}

// First element, step and number of the elements that a slice takes of an axis.
struct SliceRange {
  int64_t first, step, count;
};

SliceRange RangeOf(const NetworkNode& node, int axis, int64_t size) {
  const int64_t* slice = node.ints.data() + 3 * axis;
  int64_t start = slice[0], end = slice[1];
  const int64_t step = slice[2];
  const auto place = [&](int64_t index, int64_t low, int64_t high) { return std::clamp(index < 0 ? index + size : index, low, high); };
  if (step > 0) {
    start = place(start, 0, size);
    end = place(end, 0, size);
    return {start, step, std::max<int64_t>(0, (end - start + step - 1) / step)};
  }
  start = place(start, 0, size - 1);
  end = place(end, -1, size - 1);
  return {start, step, std::max<int64_t>(0, (start - end - step - 1) / -step)};
}

Status SliceResult(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  const Shape& x = inputs[0];
  if (node.ints.size() != 3 * static_cast<size_t>(x.rank)) return Fails("the slices");
  for (int axis = 0; axis < x.rank; ++axis) {
    if (node.ints[3 * static_cast<size_t>(axis) + 2] == 0) return Fails("the step of a slice");
    (*out)[axis] = RangeOf(node, axis, x[axis]).count;
  }
  return Ok();
}

// To the shape that the node's integers and the input's own meet in.
Status ExpandResult(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  if (node.ints.size() > kMaxRank) return Fails("the rank");
  return Broadcast(inputs[0], ShapeOfInts(node), out) ? Ok() : Fails("shapes that do not meet");
}

std::unique_ptr<Step> StridedCopy(const StepParts& parts, int64_t first, const Strides& strides) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  const Walk<1> walk(parts.output.shape, {strides});
  return MakeStep(parts, parts.node.op->name, [=](const RunState& run) {
    const float* x = run.at(input) + first;
    float* y = run.at(output);
    walk.ForRows(run.threads, [&](int64_t to, const std::array<int64_t, 1>& from, int64_t count, const std::array<int64_t, 1>& step) {
      if (step[0] == 1) std::copy_n(x + from[0], count, y + to);
      else if (step[0] == 0) std::fill_n(y + to, count, x[from[0]]);
      else
        for (int64_t i = 0; i < count; ++i) y[to + i] = x[from[0] + i * step[0]];
    });
  });
}

std::unique_ptr<Step> TransposeStep(const StepParts& parts) {
  const std::vector<int64_t>& permutation = parts.node.ints;
  const Strides dense = DenseStrides(parts.inputs[0].shape);
  Strides strides{};
  for (size_t axis = 0; axis < permutation.size(); ++axis) strides[axis] = dense[static_cast<size_t>(permutation[axis])];
  return StridedCopy(parts, 0, strides);
}

// Of images; one of rank 2 is a pixel.
std::unique_ptr<Step> ImageSlice(const StepParts& parts) {
  const Shape& x = parts.inputs[0].shape;
  std::array<SliceRange, 4> ranges{{{0, 1, 1}, {0, 1, 1}, {0, 1, 1}, {0, 1, 1}}};
  for (int axis = 0; axis < x.rank; ++axis) ranges[static_cast<size_t>(axis)] = RangeOf(parts.node, axis, x[axis]);
  const bool of_channels = std::all_of(ranges.begin(), ranges.end(), [&](const SliceRange& range) {
    const int axis = static_cast<int>(&range - ranges.data());
    return axis == 1 || axis >= x.rank || (range.first == 0 && range.step == 1 && range.count == x[axis]);
  });
  if (of_channels && ChannelPicks::CanRead({parts.inputs[0].value}, parts.output.value)) {
    std::vector<ChannelFrom> channels;
    for (int64_t i = 0; i < ranges[1].count; ++i) channels.push_back({0, ranges[1].first + i * ranges[1].step});
    return MakeStep(parts, "slice",
                    [picks = ChannelPicks({parts.inputs[0].value}, parts.output.value, channels, parts.kernels)](const RunState& run) {
                      picks.Run(run);
                    });
  }
  return MakeStep(parts, "slice", [ranges, input = parts.inputs[0].value, output = parts.output.value](const RunState& run) {
    const Layout &in = input.layout, &to = output.layout;
    const SliceRange &images = ranges[0], &channels = ranges[1], &rows = ranges[2], &columns = ranges[3];
    ForRows(to, run.threads, [&](int64_t n, int64_t plane, int64_t y) {
      const int64_t lanes = std::min(to.lanes(), to.shape.channels - plane * to.lanes());
      float* row = run.at(output) + to.at(n, plane, y, 0);
      for (int64_t lane = 0, count = 0; lane < lanes; lane += count) {
        const int64_t channel = channels.first + (plane * to.lanes() + lane) * channels.step;
        const int64_t left = in.lanes() - channel % in.lanes();  // of the block
        count = channels.step < 1 ? 1 : std::min(lanes - lane, (left + channels.step - 1) / channels.step);
        const float* from = run.at(input) + in.channel(images.first + n * images.step, channel, rows.first + y * rows.step);
        const LaneRows copied{from + columns.first * in.pixel(), columns.step * in.pixel(), row + lane, to.pixel(), to.shape.width};
        if (channels.step == 1) CopyLanes(copied, count);
        else PickLanes(copied, count, channels.step);
      }
      ClearPaddedChannels(to, plane, row);
    });
  });
}

std::unique_ptr<Step> SliceStep(const StepParts& parts) {
  if (parts.type == ValueType::kImages) return ImageSlice(parts);
  const Shape& x = parts.inputs[0].shape;
  const Strides dense = DenseStrides(x);
  Strides strides{};
  int64_t first = 0;
  for (int axis = 0; axis < x.rank; ++axis) {
    const SliceRange range = RangeOf(parts.node, axis, x[axis]);
    first += range.first * dense[static_cast<size_t>(axis)];
    strides[static_cast<size_t>(axis)] = range.step * dense[static_cast<size_t>(axis)];
  }
  return StridedCopy(parts, first, strides);
}

std::unique_ptr<Step> ExpandStep(const StepParts& parts) {
  return StridedCopy(parts, 0, BroadcastStrides(parts.inputs[0].shape, parts.output.shape));
}

}  // namespace

std::optional<int64_t> FirstChannelOfSlice(const NetworkNode& node, const Shape& input) {
  for (int axis = 0; axis < input.rank; ++axis) {
    const SliceRange range = RangeOf(node, axis, input[axis]);
    if (range.step != 1 || (axis != 1 && range.count != input[axis])) return std::nullopt;
  }
  return RangeOf(node, 1, input[1]).first;
}

const Operator kTranspose{"transpose", {1, 1}, ValueTypes::kTensors, TransposeResult, TransposeStep};
const Operator kSlice{"slice", {1, 1}, ValueTypes::kAsInputs, SliceResult, SliceStep};
const Operator kExpand{"expand", {1, 1}, ValueTypes::kTensors, ExpandResult, ExpandStep};

}  // namespace repfuse
