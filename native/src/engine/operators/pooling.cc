// Pooling over windows and over whole maps, 16 channels at a time.
#include <algorithm>
#include <cmath>
#include <limits>

#include "../../kernels/pool/sum_map.h"
#include "operator.h"

namespace repfuse {
namespace {

// A last window may begin in the map or its left padding, no further. Rounded up, one that is larger than all there is may be the only one.
int64_t Pooled(int64_t size, int64_t kernel, int64_t stride, int64_t before, int64_t after, bool ceil_mode) {
  const int64_t free = size + before + after - kernel + (ceil_mode ? stride - 1 : 0);
  if (free < 0 || before < 0 || after < 0) return 0;
  int64_t count = free / stride + 1;
  if (ceil_mode && (count - 1) * stride >= size + before) --count;
  return count;
}

Status WindowsResult(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  if (inputs[0].rank != 4) return Fails("an input that is no image");
  const int64_t kernel_h = (node.kernel_h - 1) * node.dilation_h + 1, kernel_w = (node.kernel_w - 1) * node.dilation_w + 1;
  (*out)[2] = Pooled(inputs[0][2], kernel_h, node.stride_h, node.pad_top, node.pad_bottom, node.ceil_mode);
  (*out)[3] = Pooled(inputs[0][3], kernel_w, node.stride_w, node.pad_left, node.pad_right, node.ceil_mode);
  return (*out)[2] < 1 || (*out)[3] < 1 ? Fails("a size of the pooling") : Ok();
}

Status GlobalResult(const NetworkNode&, std::span<const Shape> inputs, ValueType, Shape* out) {
  if (inputs[0].rank != 4) return Fails("an input that is no image");
  *out = Shape::Of({inputs[0][0], inputs[0][1], 1, 1});
  return Ok();
}

// Every step-th index from begin, before end.
struct Range {
  int64_t begin, end, step;

  int64_t size() const { return end <= begin ? 0 : (end - begin + step - 1) / step; }
  Range Inside(int64_t length) const { return {begin < 0 ? begin + (step - 1 - begin) / step * step : begin, std::min(end, length), step}; }
};

Range RangeOf(int64_t first, int64_t taps, int64_t step, int64_t end) {
  return {first, std::min(first + (taps - 1) * step + 1, end), step};
}

// A pixel of a block, in registers of the baseline.
using Quad __attribute__((vector_size(4 * sizeof(float)), may_alias)) = float;
constexpr int kQuads = kBlock / 4;
// Lanes that hold a NaN.
inline auto Unordered(Quad v) { return v != v; }  // NOLINT(misc-redundant-expression): a NaN is not itself

// Padding counts as minus infinity; NaN wins.
void MaxOf(const Layout& in, const float* x, Range rows, Range columns, bool, float* y) {
  Quad most[kQuads];
  decltype(Unordered(Quad{})) unordered[kQuads];  // where a NaN was: a comparison would forget it
  for (int q = 0; q < kQuads; ++q) {
    most[q] = Quad{} - std::numeric_limits<float>::infinity();
    unordered[q] = Unordered(most[q]);
  }
  const Range inside_rows = rows.Inside(in.shape.height), inside = columns.Inside(in.shape.width);
  for (int64_t i = inside_rows.begin; i < inside_rows.end; i += inside_rows.step) {
    for (int64_t j = inside.begin; j < inside.end; j += inside.step) {
      const float* pixel = x + i * in.row() + j * kBlock;
      for (int q = 0; q < kQuads; ++q) {
        const Quad values = reinterpret_cast<const Quad*>(pixel)[q];
        unordered[q] |= Unordered(values);
        most[q] = most[q] > values ? most[q] : values;
      }
    }
  }
  for (int q = 0; q < kQuads; ++q)
    reinterpret_cast<Quad*>(y)[q] = unordered[q] ? Quad{} + std::numeric_limits<float>::quiet_NaN() : most[q];
}

// Sums in float64. What hangs over the padded edge is never counted.
void MeanOf(const Layout& in, const float* x, Range rows, Range columns, bool count_include_pad, float* y) {
  double sum[kBlock] = {};
  const Range inside_rows = rows.Inside(in.shape.height), inside = columns.Inside(in.shape.width);
  for (int64_t i = inside_rows.begin; i < inside_rows.end; i += inside_rows.step) {
    for (int64_t j = inside.begin; j < inside.end; j += inside.step) {
      const float* pixel = x + i * in.row() + j * kBlock;
      for (int lane = 0; lane < kBlock; ++lane) sum[lane] += pixel[lane];
    }
  }
  const int64_t count = count_include_pad ? rows.size() * columns.size() : inside_rows.size() * inside.size();
  for (int lane = 0; lane < kBlock; ++lane) y[lane] = static_cast<float>(sum[lane] / static_cast<double>(count));
}

// Where the windows of an axis stand.
struct WindowAxis {
  int64_t taps, stride, dilation, before, end;

  Range At(int64_t index) const { return RangeOf(index * stride - before, taps, dilation, end); }
};

WindowAxis Down(const NetworkNode& node, const Layout& in) {
  return {node.kernel_h, node.stride_h, node.dilation_h, node.pad_top, in.shape.height + node.pad_bottom};
}
WindowAxis Across(const NetworkNode& node, const Layout& in) {
  return {node.kernel_w, node.stride_w, node.dilation_w, node.pad_left, in.shape.width + node.pad_right};
}

// One window after the other; each ends where the padded input does.
template <void (*kOf)(const Layout& in, const float* x, Range rows, Range columns, bool count_include_pad, float* y)>
std::unique_ptr<Step> WindowsStep(const StepParts& parts, const char* name) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  const NetworkNode& node = parts.node;
  const WindowAxis down = Down(node, input.layout), across = Across(node, input.layout);
  return MakeStep(parts, name, [=, count_include_pad = node.count_include_pad](const RunState& run) {
    const Layout &in = input.layout, &to = output.layout;
    ForRows(to, run.threads, [&](int64_t n, int64_t block, int64_t y) {
      const float* x = run.at(input) + in.at(n, block, 0, 0);
      float* row = run.at(output) + to.at(n, block, y, 0);
      const Range rows = down.At(y);
      for (int64_t column = 0; column < to.shape.width; ++column)
        kOf(in, x, rows, across.At(column), count_include_pad, row + column * kBlock);
    });
  });
}

std::unique_ptr<Step> MaxStep(const StepParts& parts) { return WindowsStep<MaxOf>(parts, "max pool"); }
std::unique_ptr<Step> AverageStep(const StepParts& parts) { return WindowsStep<MeanOf>(parts, "average pool"); }

// The root of the sum of powers of magnitudes, in float64. Alpha: the power.
Status NormResult(const NetworkNode& node, std::span<const Shape> inputs, ValueType type, Shape* out) {
  return node.alpha >= 1 ? WindowsResult(node, inputs, type, out) : Fails("the power of a norm");
}

std::unique_ptr<Step> NormStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  const WindowAxis down = Down(parts.node, input.layout), across = Across(parts.node, input.layout);
  return MakeStep(parts, "norm pool", [=, power = static_cast<double>(parts.node.alpha)](const RunState& run) {
    const Layout &in = input.layout, &to = output.layout;
    const int64_t lanes = to.lanes();
    ForRows(to, run.threads, [&](int64_t n, int64_t plane, int64_t y) {
      float* pixel = run.at(output) + to.at(n, plane, y, 0);
      const Range rows = down.At(y).Inside(in.shape.height);
      for (int64_t column = 0; column < to.shape.width; ++column, pixel += lanes) {
        double sum[kBlock] = {};
        const Range columns = across.At(column).Inside(in.shape.width);
        for (int64_t i = rows.begin; i < rows.end; i += rows.step) {
          for (int64_t j = columns.begin; j < columns.end; j += columns.step) {
            const float* x = run.at(input) + in.at(n, plane, i, j);
            for (int64_t lane = 0; lane < lanes; ++lane) {
              const double size = std::abs(static_cast<double>(x[lane]));
              sum[lane] += power == 1 ? size : power == 2 ? size * size : std::pow(size, power);
            }
          }
        }
        for (int64_t lane = 0; lane < lanes; ++lane)
          pixel[lane] = static_cast<float>(power == 1 ? sum[lane] : power == 2 ? std::sqrt(sum[lane]) : std::pow(sum[lane], 1 / power));
      }
    });
  });
}

std::unique_ptr<Step> GlobalStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  return MakeStep(parts, "global average pool", [=, sum_map = parts.kernels.blocked.sum_map](const RunState& run) {
    const Layout &in = input.layout, &to = output.layout;
    ForEach(in.shape.batch * in.blocks(), run.threads, [&](int64_t index, int) {
      const int64_t n = index / in.blocks(), block = index % in.blocks();
      double sum[kBlock];
      sum_map({run.at(input) + in.at(n, block, 0, 0), in.shape.height, in.shape.width, in.row(), sum});
      float* y = run.at(output) + to.at(n, block, 0, 0);
      const double count = static_cast<double>(in.shape.height * in.shape.width);
      for (int lane = 0; lane < kBlock; ++lane) y[lane] = static_cast<float>(sum[lane] / count);
    });
  });
}

}  // namespace

const Operator kMaxPool{"maxPool", {1, 1}, ValueTypes::kImages, WindowsResult, MaxStep};
const Operator kAveragePool{"averagePool", {1, 1}, ValueTypes::kImages, WindowsResult, AverageStep};
const Operator kLpPool{"lpPool", {1, 1}, ValueTypes::kAsInputs, NormResult, NormStep};
const Operator kGlobalAveragePool{"globalAveragePool", {1, 1}, ValueTypes::kImages, GlobalResult, GlobalStep};

}  // namespace repfuse
