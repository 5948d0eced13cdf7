// The triangle of each matrix above or below a diagonal; the rest is 0.
#include <algorithm>

#include "operator.h"

namespace repfuse {
namespace {

// Integers: 1 for the upper triangle, and how far its diagonal lies to the right of the main one.
Status Result(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape*) {
  if (inputs[0].rank < 2) return Fails("an input that is no matrix");
  return node.ints.size() == 2 ? Ok() : Fails("the diagonal");
}

std::unique_ptr<Step> TriluStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  const Shape& x = parts.inputs[0].shape;
  const int64_t rows = x[x.rank - 2], columns = x[x.rank - 1], lines = x.count(0, x.rank - 1), diagonal = parts.node.ints[1];
  const bool upper = parts.node.ints[0] != 0;
  return MakeStep(parts, "triangle", [=](const RunState& run) {
    ForEach(lines, run.threads, [&](int64_t line, int) {
      const float* from = run.at(input) + line * columns;
      float* to = run.at(output) + line * columns;
      // The first column that is not of the lower triangle alone.
      const int64_t border = std::clamp<int64_t>(line % rows + diagonal + (upper ? 0 : 1), 0, columns);
      std::fill_n(to, columns, 0.0f);
      if (upper) std::copy(from + border, from + columns, to + border);
      else std::copy(from, from + border, to);
    });
  });
}

}  // namespace

const Operator kTrilu{"trilu", {1, 1}, ValueTypes::kTensors, Result, TriluStep};

}  // namespace repfuse
