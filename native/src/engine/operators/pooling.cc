// Pooling over windows and over whole maps, 16 channels at a time.
#include <algorithm>
#include <limits>

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

Status WindowsResult(const NetworkNode& node, std::span<const Shape> inputs, Form, Shape* out) {
  if (inputs[0].rank != 4) return Fails("an input that is no image");
  const int64_t kernel_h = (node.kernel_h - 1) * node.dilation_h + 1, kernel_w = (node.kernel_w - 1) * node.dilation_w + 1;
  (*out)[2] = Pooled(inputs[0][2], kernel_h, node.stride_h, node.pad_top, node.pad_bottom, node.ceil_mode);
  (*out)[3] = Pooled(inputs[0][3], kernel_w, node.stride_w, node.pad_left, node.pad_right, node.ceil_mode);
  return (*out)[2] < 1 || (*out)[3] < 1 ? Fails("a size of the pooling") : Ok();
}

Status GlobalResult(const NetworkNode&, std::span<const Shape> inputs, Form, Shape* out) {
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

// Windows of one row of outputs after the other. `end` is that of the padded input.
class Pool : public Step {
 public:
  explicit Pool(const StepParts& parts) : Step(parts.output.value), input_(parts.inputs[0].value) {
    const NetworkNode& node = parts.node;
    w_ = {node.kernel_h, node.kernel_w, node.stride_h,   node.stride_w,  node.dilation_h,       node.dilation_w,
          node.pad_top,  node.pad_left, node.pad_bottom, node.pad_right, node.count_include_pad};
  }

  void Run(const RunState& run) const override {
    const Layout &in = input_.layout, &to = output_.layout;
    ForRows(to, run.threads, [&](int64_t n, int64_t block, int64_t y) {
      const float* x = run.slots[input_.slot] + in.at(n, block, 0, 0);
      float* row = out(run) + to.at(n, block, y, 0);
      const Range rows = RangeOf(y * w_.stride_h - w_.pad_top, w_.kernel_h, w_.dilation_h, in.shape.height + w_.pad_bottom);
      for (int64_t column = 0; column < to.shape.width; ++column) {
        RunWindow(x, rows, RangeOf(column * w_.stride_w - w_.pad_left, w_.kernel_w, w_.dilation_w, in.shape.width + w_.pad_right),
                  row + column * kBlock);
      }
    });
  }

 protected:
  virtual void RunWindow(const float* x, Range rows, Range columns, float* y) const = 0;

  Value input_;
  struct {
    int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, pad_bottom, pad_right;
    bool count_include_pad;
  } w_;
};

// A pixel of a block, in registers of the baseline.
using Quad __attribute__((vector_size(4 * sizeof(float)), may_alias)) = float;
constexpr int kQuads = kBlock / 4;

// Padding counts as minus infinity; NaN wins.
class MaxPool final : public Pool {
 public:
  using Pool::Pool;
  std::string kernel() const override { return "max pool"; }

 private:
  void RunWindow(const float* x, Range rows, Range columns, float* y) const override {
    Quad most[kQuads];
    decltype(most[0] != most[0]) unordered[kQuads];  // where a NaN was: a comparison would forget it
    for (int q = 0; q < kQuads; ++q) {
      most[q] = Quad{} - std::numeric_limits<float>::infinity();
      unordered[q] = most[q] != most[q];
    }
    const Range inside_rows = rows.Inside(input_.layout.shape.height), inside = columns.Inside(input_.layout.shape.width);
    for (int64_t i = inside_rows.begin; i < inside_rows.end; i += inside_rows.step) {
      for (int64_t j = inside.begin; j < inside.end; j += inside.step) {
        const float* pixel = x + i * input_.layout.row() + j * kBlock;
        for (int q = 0; q < kQuads; ++q) {
          const Quad values = reinterpret_cast<const Quad*>(pixel)[q];
          unordered[q] |= values != values;
          most[q] = most[q] > values ? most[q] : values;
        }
      }
    }
    for (int q = 0; q < kQuads; ++q)
      reinterpret_cast<Quad*>(y)[q] = unordered[q] ? Quad{} + std::numeric_limits<float>::quiet_NaN() : most[q];
  }
};

// Sums in float64. What hangs over the padded edge is never counted.
class AveragePool final : public Pool {
 public:
  using Pool::Pool;
  std::string kernel() const override { return "average pool"; }

 private:
  void RunWindow(const float* x, Range rows, Range columns, float* y) const override {
    double sum[kBlock] = {};
    const Range inside_rows = rows.Inside(input_.layout.shape.height), inside = columns.Inside(input_.layout.shape.width);
    for (int64_t i = inside_rows.begin; i < inside_rows.end; i += inside_rows.step) {
      for (int64_t j = inside.begin; j < inside.end; j += inside.step) {
        const float* pixel = x + i * input_.layout.row() + j * kBlock;
        for (int lane = 0; lane < kBlock; ++lane) sum[lane] += pixel[lane];
      }
    }
    const int64_t count = w_.count_include_pad ? rows.size() * columns.size() : inside_rows.size() * inside.size();
    for (int lane = 0; lane < kBlock; ++lane) y[lane] = static_cast<float>(sum[lane] / static_cast<double>(count));
  }
};

class GlobalAveragePool final : public Step {
 public:
  explicit GlobalAveragePool(const StepParts& parts) : Step(parts.output.value), input_(parts.inputs[0].value) {}

  void Run(const RunState& run) const override {
    const Layout &in = input_.layout, &to = output_.layout;
    ForEach(in.shape.batch * in.blocks(), run.threads, [&](int64_t index, int) {
      const int64_t n = index / in.blocks(), block = index % in.blocks();
      double sum[kBlock] = {};
      for (int64_t y = 0; y < in.shape.height; ++y) {
        const float* row = run.slots[input_.slot] + in.at(n, block, y, 0);
        for (int64_t x = 0; x < in.shape.width; ++x) {
          for (int lane = 0; lane < kBlock; ++lane) sum[lane] += row[x * kBlock + lane];
        }
      }
      float* y = out(run) + to.at(n, block, 0, 0);
      const double count = static_cast<double>(in.shape.height * in.shape.width);
      for (int lane = 0; lane < kBlock; ++lane) y[lane] = static_cast<float>(sum[lane] / count);
    });
  }
  std::string kernel() const override { return "global average pool"; }

 private:
  Value input_;
};

}  // namespace

const Operator kMaxPool{"maxPool", {1, 1}, Forms::kImages, WindowsResult, MakeStep<MaxPool>};
const Operator kAveragePool{"averagePool", {1, 1}, Forms::kImages, WindowsResult, MakeStep<AveragePool>};
const Operator kGlobalAveragePool{"globalAveragePool", {1, 1}, Forms::kImages, GlobalResult, MakeStep<GlobalAveragePool>};

}  // namespace repfuse
