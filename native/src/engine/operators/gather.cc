// What reads elements at places that another value holds. Those places are whole numbers; negative ones count from the end, and one that
// is outside reads NaN.
#include <algorithm>
#include <limits>

#include "../walk.h"
#include "operator.h"

namespace repfuse {
namespace {

constexpr int64_t kOutside = -1;

// The place that an index names among `size`.
int64_t PlaceOf(float index, int64_t size) {
  const float place = index < 0 ? index + static_cast<float>(size) : index;
  return place >= 0 && place < static_cast<float>(size) ? static_cast<int64_t>(place) : kOutside;
}

void CopyOrNaN(const float* from, int64_t place, int64_t count, float* to) {
  if (place == kOutside) std::fill_n(to, count, std::numeric_limits<float>::quiet_NaN());
  else std::copy_n(from + place * count, count, to);
}

bool AxisIsOf(const NetworkNode& node, const Shape& x) { return node.ints.size() == 1 && node.ints[0] >= 0 && node.ints[0] < x.rank; }

// Whole parts of the input: the axis becomes the axes of the indices.
Status GatherResult(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  const Shape &x = inputs[0], &indices = inputs[1];
  if (!AxisIsOf(node, x)) return Fails("the axis");
  if (x.rank - 1 + indices.rank > kMaxRank) return Fails("the rank");
  const int axis = static_cast<int>(node.ints[0]);
  *out = {};
  for (int i = 0; i < axis; ++i) (*out)[out->rank++] = x[i];
  for (int i = 0; i < indices.rank; ++i) (*out)[out->rank++] = indices[i];
  for (int i = axis + 1; i < x.rank; ++i) (*out)[out->rank++] = x[i];
  return Ok();
}

std::unique_ptr<Step> GatherStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, places = parts.inputs[1].value, output = parts.output.value;
  const Shape& x = parts.inputs[0].shape;
  const int axis = static_cast<int>(parts.node.ints[0]);
  const int64_t outer = x.count(0, axis), size = x[axis], inner = x.count(axis + 1, x.rank), count = parts.inputs[1].shape.count();
  return MakeStep(parts, "gather", [=](const RunState& run) {
    ForEach(outer * count, run.threads, [&](int64_t index, int) {
      const int64_t place = PlaceOf(run.at(places)[index % count], size);
      CopyOrNaN(run.at(input) + index / count * size * inner, place, inner, run.at(output) + index * inner);
    });
  });
}

// Single elements: the result is of the shape of the indices, which may be smaller than the input along other axes.
Status ElementsResult(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  const Shape &x = inputs[0], &indices = inputs[1];
  if (!AxisIsOf(node, x) || indices.rank != x.rank) return Fails("the axis");
  for (int axis = 0; axis < x.rank; ++axis) {
    if (axis != node.ints[0] && indices[axis] > x[axis]) return Fails("the sizes of the indices");
  }
  *out = indices;
  return Ok();
}

std::unique_ptr<Step> ElementsStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, places = parts.inputs[1].value, output = parts.output.value;
  const Shape& x = parts.inputs[0].shape;
  const size_t axis = static_cast<size_t>(parts.node.ints[0]);
  const int64_t size = x.dims[axis];
  Strides strides = DenseStrides(x);
  const int64_t stride = strides[axis];
  strides[axis] = 0;
  const Walk<1> walk(parts.output.shape, {strides});
  return MakeStep(parts, "gather", [=](const RunState& run) {
    walk.ForRows(run.threads, [&](int64_t to, const std::array<int64_t, 1>& from, int64_t count, const std::array<int64_t, 1>& step) {
      for (int64_t i = 0; i < count; ++i) {
        const int64_t place = PlaceOf(run.at(places)[to + i], size);
        const float* x = run.at(input) + from[0] + i * step[0];
        run.at(output)[to + i] = place == kOutside ? std::numeric_limits<float>::quiet_NaN() : x[place * stride];
      }
    });
  });
}

// The last axis of the indices names places of as many axes, behind those that both have in common.
Status NdResult(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  const Shape &x = inputs[0], &indices = inputs[1];
  const int64_t common = node.ints.size() == 1 ? node.ints[0] : -1;
  if (common < 0 || common >= std::min(x.rank, indices.rank)) return Fails("the common axes");
  for (int axis = 0; axis < common; ++axis) {
    if (x[axis] != indices[axis]) return Fails("the sizes of the indices");
  }
  const int64_t named = indices[indices.rank - 1], first = common + named;
  if (named < 1 || first > x.rank || indices.rank - 1 + x.rank - first > kMaxRank) return Fails("the axes that the indices name");
  *out = {};
  for (int axis = 0; axis < indices.rank - 1; ++axis) (*out)[out->rank++] = indices[axis];
  for (int axis = static_cast<int>(first); axis < x.rank; ++axis) (*out)[out->rank++] = x[axis];
  return Ok();
}

std::unique_ptr<Step> NdStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, places = parts.inputs[1].value, output = parts.output.value;
  const Shape x = parts.inputs[0].shape;
  const Shape& indices = parts.inputs[1].shape;
  const int common = static_cast<int>(parts.node.ints[0]), named = static_cast<int>(indices[indices.rank - 1]);
  const int64_t batch = x.count(0, common), share = indices.count(common, indices.rank - 1);
  const int64_t inner = x.count(common + named, x.rank), whole = x.count(common, x.rank);
  return MakeStep(parts, "gather", [=](const RunState& run) {
    ForEach(batch * share, run.threads, [&](int64_t index, int) {
      const float* tuple = run.at(places) + index * named;
      int64_t at = 0;
      for (int i = 0; i < named && at != kOutside; ++i) {
        const int64_t place = PlaceOf(tuple[i], x[common + i]);
        at = place == kOutside ? kOutside : at * x[common + i] + place;
      }
      CopyOrNaN(run.at(input) + index / share * whole, at, inner, run.at(output) + index * inner);
    });
  });
}

}  // namespace

const Operator kGather{"gather", {2, 2}, ValueTypes::kTensors, GatherResult, GatherStep};
const Operator kGatherElements{"gatherElements", {2, 2}, ValueTypes::kTensors, ElementsResult, ElementsStep};
const Operator kGatherNd{"gatherNd", {2, 2}, ValueTypes::kTensors, NdResult, NdStep};

}  // namespace repfuse
