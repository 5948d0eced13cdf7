// Places of the k largest or smallest elements along an axis, best first; of equal ones the earlier first.
#include <algorithm>
#include <cmath>
#include <vector>

#include "operator.h"

namespace repfuse {
namespace {

// Integers: the axis, how many, 1 for the largest. A second input says how many in their place: the result is then as long as the axis,
// and -1 from the place on where it ends.
Status Result(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  const Shape& x = inputs[0];
  if (node.ints.size() != 3 || node.ints[0] < 0 || node.ints[0] >= x.rank) return Fails("the axis");
  const int axis = static_cast<int>(node.ints[0]);
  if (inputs.size() > 1) return inputs[1].count() == 1 ? Ok() : Fails("how many places are asked for");
  if (node.ints[1] < 1 || node.ints[1] > x[axis]) return Fails("how many places are asked for");
  (*out)[axis] = node.ints[1];
  return Ok();
}

// NaN is beyond all numbers.
bool Exceeds(float a, float b) { return std::isnan(a) ? !std::isnan(b) : a > b; }

// A number that may be none as a count.
int64_t CountOf(float value, int64_t most) {
  if (!(value > 0)) return 0;
  return value < static_cast<float>(most) ? static_cast<int64_t>(value) : most;
}

std::unique_ptr<Step> TopPlacesStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  const Shape& x = parts.inputs[0].shape;
  const int axis = static_cast<int>(parts.node.ints[0]);
  const int64_t outer = x.count(0, axis), size = x[axis], inner = x.count(axis + 1, x.rank), places = parts.output.shape[axis];
  const bool largest = parts.node.ints[2] != 0;
  const int told = parts.inputs.size() > 1 ? parts.inputs[1].value.slot : -1;
  return MakeStep(parts, "top places", [=](const RunState& run) {
    const int64_t wanted = told < 0 ? places : CountOf(*run.slots[told], places);
    ForEach(outer * inner, run.threads, [&](int64_t line, int) {
      const int64_t image = line / inner, offset = line % inner;
      const float* from = run.at(input) + image * size * inner + offset;
      float* to = run.at(output) + image * places * inner + offset;
      std::vector<int64_t> order(static_cast<size_t>(size));
      for (int64_t i = 0; i < size; ++i) order[static_cast<size_t>(i)] = i;
      std::partial_sort(order.begin(), order.begin() + wanted, order.end(), [&](int64_t a, int64_t b) {
        const float first = from[a * inner], second = from[b * inner];
        if (Exceeds(first, second)) return largest;
        if (Exceeds(second, first)) return !largest;
        return a < b;
      });
      for (int64_t i = 0; i < places; ++i) to[i * inner] = i < wanted ? static_cast<float>(order[static_cast<size_t>(i)]) : -1;
    });
  });
}

}  // namespace

const Operator kTopPlaces{"topPlaces", {1, 2}, ValueTypes::kTensors, Result, TopPlacesStep};

}  // namespace repfuse
