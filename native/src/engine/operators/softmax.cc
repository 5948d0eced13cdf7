// Softmax over the channels of images, and over one axis of a tensor or all from it on.
#include "../../kernels/elementwise/softmax.h"

#include <numeric>

#include "operator.h"

namespace repfuse {
namespace {

Status AxisResult(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape*) {
  const bool fits = node.ints.size() == 2 && node.ints[0] >= 0 && node.ints[0] < std::max(inputs[0].rank, 1);
  return fits ? Ok() : Fails("the axis");
}

std::unique_ptr<Step> ImageStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  return MakeStep(parts, "softmax", [=](const RunState& run) {
    const Layout &in = input.layout, &to = output.layout;
    ForEach(to.shape.batch * to.shape.height, run.threads, [&](int64_t index, int) {
      const int64_t n = index / to.shape.height, y = index % to.shape.height;
      for (int64_t x = 0; x < to.shape.width; ++x) {
        const float* from = run.at(input) + in.at(n, 0, y, x);
        float* result = run.at(output) + to.at(n, 0, y, x);
        Softmax(
            to.shape.channels, [&](int64_t c) { return static_cast<double>(from[c / kBlock * in.plane() + c % kBlock]); },
            [&](int64_t c) -> float& { return result[c / kBlock * to.plane() + c % kBlock]; });
      }
      ClearPaddedChannels(to, to.planes() - 1, run.at(output) + to.at(n, to.planes() - 1, y, 0));
    });
  });
}

// Columns that are computed side by side.
constexpr int64_t kColumns = 64;

// Of `length` rows of `columns` numbers, `pitch` elements apart, each column for itself: the largest first, so that no exponential
// overflows; sums in float64. The exponentials stand in y meanwhile.
void SoftmaxOfColumns(const float* x, float* y, int64_t length, int64_t columns, int64_t pitch, UnaryF32 exponential) {
  float largest[kColumns];
  double sum[kColumns] = {};
  std::copy_n(x, columns, largest);
  for (int64_t i = 1; i < length; ++i) {
    for (int64_t j = 0; j < columns; ++j) largest[j] = std::max(largest[j], x[i * pitch + j]);
  }
  for (int64_t i = 0; i < length; ++i) {
    float* row = y + i * pitch;
    for (int64_t j = 0; j < columns; ++j) row[j] = x[i * pitch + j] - largest[j];
    exponential(row, row, static_cast<size_t>(columns));
    for (int64_t j = 0; j < columns; ++j) sum[j] += row[j];
  }
  for (int64_t i = 0; i < length; ++i) {
    for (int64_t j = 0; j < columns; ++j) y[i * pitch + j] = static_cast<float>(y[i * pitch + j] / sum[j]);
  }
}

// Of numbers side by side. A few maxima and sums at a time: one would wait for itself.
void SoftmaxOfRow(const float* x, float* y, int64_t length, UnaryF32 exponential) {
  float most[kBlock];
  double sums[kBlock] = {};
  std::fill_n(most, kBlock, x[0]);
  for (int64_t i = 0; i < length; i += kBlock) {
    const int64_t count = std::min(kBlock, length - i);
    for (int64_t j = 0; j < count; ++j) most[j] = std::max(most[j], x[i + j]);
  }
  const float largest = *std::max_element(most, most + kBlock);
  for (int64_t i = 0; i < length; ++i) y[i] = x[i] - largest;
  exponential(y, y, static_cast<size_t>(length));
  for (int64_t i = 0; i < length; i += kBlock) {
    const int64_t count = std::min(kBlock, length - i);
    for (int64_t j = 0; j < count; ++j) sums[j] += y[i + j];
  }
  const double share = 1 / std::accumulate(sums, sums + kBlock, 0.0);
  for (int64_t i = 0; i < length; ++i) y[i] = static_cast<float>(y[i] * share);
}

std::unique_ptr<Step> AxisStep(const StepParts& parts) {
  const Shape& shape = parts.inputs[0].shape;
  const int axis = static_cast<int>(parts.node.ints[0]);
  const int end = parts.node.ints[1] != 0 || shape.rank == 0 ? shape.rank : axis + 1;
  const int64_t outer = shape.count(0, axis), length = shape.count(axis, end), inner = shape.count(end, shape.rank);
  const Value input = parts.inputs[0].value, output = parts.output.value;
  const UnaryF32 exponential = parts.kernels.blocked.exp;
  const int64_t parts_of_inner = (inner + kColumns - 1) / kColumns;
  return MakeStep(parts, "softmax over an axis", [=](const RunState& run) {
    ForEach(outer * parts_of_inner, run.threads, [&](int64_t index, int) {
      const int64_t column = index % parts_of_inner * kColumns, first = index / parts_of_inner * length * inner + column;
      const float* x = run.at(input) + first;
      float* y = run.at(output) + first;
      if (inner == 1) SoftmaxOfRow(x, y, length, exponential);
      else SoftmaxOfColumns(x, y, length, std::min(kColumns, inner - column), inner, exponential);
    });
  });
}

}  // namespace

const Operator kSoftmax{"softmax", {1, 1}, ValueTypes::kImages, SameShape, ImageStep};
const Operator kSoftmaxOverAxis{"softmaxAxis", {1, 1}, ValueTypes::kTensors, AxisResult, AxisStep};

}  // namespace repfuse
