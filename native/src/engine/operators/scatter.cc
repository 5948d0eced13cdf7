// A copy of the first value in which elements are replaced, or combined by a function of two numbers, at places that the second value
// holds, by those of the third. Places are whole numbers; negative ones count from the end. One that is outside makes the result NaN.
#include <algorithm>
#include <limits>

#include "../walk.h"
#include "operator.h"

namespace repfuse {
namespace {

float Replace(float, float update) { return update; }
float Add(float x, float update) { return x + update; }
float Multiply(float x, float update) { return x * update; }
float Larger(float x, float update) { return x > update || x != x ? x : update; }
float Smaller(float x, float update) { return x < update || x != x ? x : update; }

using Combine = float (*)(float x, float update);

// Null for a function that no scatter has.
Combine CombineOf(const NetworkNode& node) {
  if (node.function == nullptr) return Replace;
  const std::pair<const char*, Combine> known[] = {{"add", Add}, {"mul", Multiply}, {"max", Larger}, {"min", Smaller}};
  for (const auto& [name, combine] : known) {
    if (node.function == FindBinaryFunction(name)) return combine;
  }
  return nullptr;
}

// False for an index that is outside.
bool FindPlace(float index, int64_t size, int64_t* place) {
  const float from_start = index < 0 ? index + static_cast<float>(size) : index;
  if (!(from_start >= 0 && from_start < static_cast<float>(size))) return false;
  *place = static_cast<int64_t>(from_start);
  return true;
}

Status ElementsResult(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape*) {
  const Shape &x = inputs[0], &indices = inputs[1];
  if (CombineOf(node) == nullptr) return Fails("the function");
  if (node.ints.size() != 1 || node.ints[0] < 0 || node.ints[0] >= x.rank) return Fails("the axis");
  if (indices.rank != x.rank || inputs[2] != indices) return Fails("the shape of the updates");
  for (int axis = 0; axis < x.rank; ++axis) {
    if (axis != node.ints[0] && indices[axis] > x[axis]) return Fails("the sizes of the indices");
  }
  return Ok();
}

// Updates come one after the other, since several may name one place.
std::unique_ptr<Step> ElementsStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, places = parts.inputs[1].value, updates = parts.inputs[2].value, output = parts.output.value;
  const Shape& x = parts.inputs[0].shape;
  const size_t axis = static_cast<size_t>(parts.node.ints[0]);
  Strides strides = DenseStrides(x);
  const int64_t size = x.dims[axis], stride = strides[axis], elements = x.count();
  strides[axis] = 0;
  const Walk<1> walk(parts.inputs[1].shape, {strides});
  return MakeStep(parts, "scatter", [=, combine = CombineOf(parts.node)](const RunState& run) {
    float* y = run.at(output);
    std::copy_n(run.at(input), elements, y);
    bool fits = true;
    walk.ForRows(1, [&](int64_t from, const std::array<int64_t, 1>& to, int64_t count, const std::array<int64_t, 1>& step) {
      for (int64_t i = 0; i < count; ++i) {
        int64_t place = 0;
        fits = FindPlace(run.at(places)[from + i], size, &place) && fits;
        float& element = y[to[0] + i * step[0] + place * stride];
        element = combine(element, run.at(updates)[from + i]);
      }
    });
    if (!fits) std::fill_n(y, elements, std::numeric_limits<float>::quiet_NaN());
  });
}

Status NdResult(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape*) {
  const Shape &x = inputs[0], &indices = inputs[1], &updates = inputs[2];
  if (CombineOf(node) == nullptr) return Fails("the function");
  const int64_t named = indices.rank == 0 ? 0 : indices[indices.rank - 1];
  if (named < 1 || named > x.rank) return Fails("the axes that the indices name");
  if (indices.rank - 1 + x.rank - named != updates.rank) return Fails("the shape of the updates");
  for (int axis = 0; axis < updates.rank; ++axis) {
    const int64_t wanted = axis < indices.rank - 1 ? indices[axis] : x[axis - (indices.rank - 1) + static_cast<int>(named)];
    if (updates[axis] != wanted) return Fails("the shape of the updates");
  }
  return Ok();
}

std::unique_ptr<Step> NdStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, places = parts.inputs[1].value, updates = parts.inputs[2].value, output = parts.output.value;
  const Shape x = parts.inputs[0].shape;
  const Shape& indices = parts.inputs[1].shape;
  const int named = static_cast<int>(indices[indices.rank - 1]);
  const int64_t tuples = indices.count(0, indices.rank - 1), inner = x.count(named, x.rank), elements = x.count();
  return MakeStep(parts, "scatter", [=, combine = CombineOf(parts.node)](const RunState& run) {
    float* y = run.at(output);
    std::copy_n(run.at(input), elements, y);
    bool fits = true;
    for (int64_t index = 0; index < tuples; ++index) {
      const float* tuple = run.at(places) + index * named;
      int64_t at = 0;
      for (int i = 0; i < named; ++i) {
        int64_t place = 0;
        fits = FindPlace(tuple[i], x[i], &place) && fits;
        at = at * x[i] + place;
      }
      for (int64_t i = 0; i < inner; ++i) {
        float& element = y[at * inner + i];
        element = combine(element, run.at(updates)[index * inner + i]);
      }
    }
    if (!fits) std::fill_n(y, elements, std::numeric_limits<float>::quiet_NaN());
  });
}

}  // namespace

const Operator kScatterElements{"scatterElements", {3, 3}, ValueTypes::kTensors, ElementsResult, ElementsStep};
const Operator kScatterNd{"scatterNd", {3, 3}, ValueTypes::kTensors, NdResult, NdStep};

}  // namespace repfuse
