// Pooling, 16 channels at a time.
#include <algorithm>
#include <limits>

#include "steps.h"

namespace repfuse {
namespace {

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
  Pool(Value input, WindowSetting window, Value output) : Step(output), input_(input), w_(window) {}

  void Run(const RunState& run) const override {
    const Layout &in = input_.layout, &to = output_.layout;
    ForEach(to.shape.batch * to.blocks() * to.shape.height, run.threads, [&](int64_t index, int) {
      const int64_t y = index % to.shape.height, block = index / to.shape.height % to.blocks(), n = index / to.shape.height / to.blocks();
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
  WindowSetting w_;
};

// A pixel of a block, in registers of the baseline.
using Quad __attribute__((vector_size(4 * sizeof(float)), may_alias)) = float;
constexpr int kQuads = kBlock / 4;

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
  GlobalAveragePool(Value input, Value output) : Step(output), input_(input) {}

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

std::unique_ptr<Step> MakeMaxPool(Value input, WindowSetting window, Value output) {
  return std::make_unique<MaxPool>(input, window, output);
}
std::unique_ptr<Step> MakeAveragePool(Value input, WindowSetting window, Value output) {
  return std::make_unique<AveragePool>(input, window, output);
}
std::unique_ptr<Step> MakeGlobalAveragePool(Value input, Value output) { return std::make_unique<GlobalAveragePool>(input, output); }

}  // namespace repfuse
