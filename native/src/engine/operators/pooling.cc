// Pooling over windows and over whole maps, 16 channels at a time.
#include <algorithm>
#include <cmath>

#include "../../kernels/pool/sum_map.h"
#include "../../kernels/pool/window.h"
#include "../row_sums.h"
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

// Windows of one row that all lie inside: the first, and one beyond the last.
Range Whole(const WindowAxis& axis, int64_t windows, int64_t size) {
  const int64_t first = std::min((axis.before + axis.stride - 1) / axis.stride, windows);
  const int64_t reach = (axis.taps - 1) * axis.dilation + 1, free = size + axis.before - reach;
  return {first, std::clamp(free < 0 ? 0 : free / axis.stride + 1, first, windows), 1};
}

// What reads the windows of one row of a block: rows of the map inside the windows, and its columns in whole windows or parts of one.
struct WindowRow {
  const float* x;  // the block's first pixel
  Range rows;
  int64_t row;          // elements from one row of the map to the next
  float* y;             // the first window of the row
  int64_t padded_rows;  // of the windows, with those that padding adds
};

// Windows side by side of the same columns, that of the first of which say which they are.
PoolWindows WindowsAt(const WindowRow& r, const WindowAxis& across, int64_t first, int64_t count, const Range& columns) {
  return {.x = r.x + r.rows.begin * r.row + columns.begin * kBlock,
          .rows = r.rows.size(),
          .row = r.rows.step * r.row,
          .columns = columns.size(),
          .column = columns.step * kBlock,
          .pixel = across.stride * kBlock,
          .y = r.y + first * kBlock,
          .pixels = count,
          .share = 1};
}

// Each row of windows: body(row, slot).
template <typename Body>
void ForWindowRows(const Value& input, const Value& output, const WindowAxis& down, const RunState& run, const Body& body) {
  const Layout &in = input.layout, &to = output.layout;
  const int64_t height = to.shape.height, planes = to.planes();
  ForEach(to.shape.batch * planes * height, run.threads, [&](int64_t index, int slot) {
    const int64_t y = index % height, plane = index / height % planes, n = index / height / planes;
    const Range rows = down.At(y);
    float* const row = run.at(output) + to.at(n, plane, y, 0);
    body(WindowRow{run.at(input) + in.at(n, plane, 0, 0), rows.Inside(in.shape.height), in.row(), row, rows.size()}, slot);
    ClearPaddedChannels(to, plane, row);
  });
}

// Calls body(first, count, columns) for the windows of a row: those at the edges one by one.
template <typename Body>
void ForWindowsOfRow(const WindowAxis& across, const Range& whole, int64_t windows, int64_t width, const Body& body) {
  for (int64_t i = 0; i < windows; ++i) {
    if (i == whole.begin && whole.end > i) {
      body(i, whole.end - i, across.At(i).Inside(width));
      i = whole.end;
      if (i == windows) return;
    }
    body(i, 1, across.At(i).Inside(width));
  }
}

// Padding counts as minus infinity; NaN wins. Where that is less work, the largest of each column first, which the windows over it share.
std::unique_ptr<Step> MaxStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  const WindowAxis down = Down(parts.node, input.layout), across = Across(parts.node, input.layout);
  const int64_t width = input.layout.shape.width, windows = output.layout.shape.width;
  const bool columns_first = down.taps * std::min(across.stride, width) + across.taps < down.taps * across.taps;
  const auto run_windows = parts.kernels.blocked.max_windows;
  const auto body = [=, whole = Whole(across, windows, width)](const RunState& run) {
    ForWindowRows(input, output, down, run, [&](WindowRow row, int slot) {
      if (columns_first) {
        float* const most = run.workspace + slot * run.workspace_size;
        const WindowAxis each{.taps = 1, .stride = 1, .dilation = 1, .before = 0, .end = width};
        WindowRow all = row;
        all.y = most;
        run_windows(WindowsAt(all, each, 0, width, {0, 1, 1}));
        row.x = most;
        row.rows = {0, 1, 1};
      }
      ForWindowsOfRow(across, whole, windows, width, [&](int64_t first, int64_t count, const Range& columns) {
        run_windows(WindowsAt(row, across, first, count, columns));
      });
    });
  };
  return MakeStep(parts, "max pool", body, columns_first ? width * kBlock : 0);
}

// Sums in float64. What hangs over the padded edge is never counted.
std::unique_ptr<Step> AverageStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  const WindowAxis down = Down(parts.node, input.layout), across = Across(parts.node, input.layout);
  const int64_t width = input.layout.shape.width, windows = output.layout.shape.width;
  const auto run_windows = parts.kernels.blocked.mean_windows;
  return MakeStep(parts, "average pool",
                  [=, whole = Whole(across, windows, width), with_padding = parts.node.count_include_pad](const RunState& run) {
                    ForWindowRows(input, output, down, run, [&](const WindowRow& row, int) {
                      ForWindowsOfRow(across, whole, windows, width, [&](int64_t first, int64_t count, const Range& columns) {
                        PoolWindows at = WindowsAt(row, across, first, count, columns);
                        const int64_t counted = with_padding ? row.padded_rows * across.At(first).size() : at.rows * at.columns;
                        at.share = 1 / static_cast<double>(counted);
                        run_windows(at);
                      });
                    });
                  });
}

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

// The sums of a block of channels, from those of its rows. False where one is no number: sums of few pixels are of float32, which large
// numbers leave though their average does not.
bool AddRows(const RowSums& rows, int64_t block, int64_t count, double* sum) {
  std::fill_n(sum, kBlock, 0.0);
  for (int64_t row = 0; row < count; ++row) {
    const double* of_row = rows.of(block, row);
    for (int lane = 0; lane < kBlock; ++lane) sum[lane] += of_row[lane];
  }
  return std::all_of(sum, sum + kBlock, [](double value) { return std::isfinite(value); });
}

std::unique_ptr<Step> GlobalStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  const std::optional<Value> sums = parts.inputs[0].row_sums;
  const char* name = sums ? "global average pool of sums" : "global average pool";
  return MakeStep(parts, name, [=, sum_map = parts.kernels.blocked.sum_map](const RunState& run) {
    const Layout &in = input.layout, &to = output.layout;
    ForEach(in.shape.batch * in.blocks(), run.threads, [&](int64_t index, int) {
      const int64_t n = index / in.blocks(), block = index % in.blocks();
      double sum[kBlock];
      if (!sums || !AddRows(RowSums(run, sums, n, 0), block, sums->layout.shape.height, sum))
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
