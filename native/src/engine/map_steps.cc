// Steps without a window: pixel by pixel, or by a window of the size of the map.
#include <algorithm>
#include <cmath>

#include "steps.h"

namespace repfuse {
namespace {

// Calls body(image, plane, row) for every row of a layout's maps.
template <typename Body>
void ForRows(const Layout& layout, int threads, const Body& body) {
  ForEach(layout.shape.batch * layout.planes(), threads, [&](int64_t index, int) {
    for (int64_t y = 0; y < layout.shape.height; ++y) body(index / layout.planes(), index % layout.planes(), y);
  });
}

class ActivationStep final : public Step {
 public:
  ActivationStep(Value input, Function function, Value output) : Step(output), input_(input), function_(function) {}

  void Run(const RunState& run) const override {
    ForRows(output_.layout, run.threads, [&](int64_t n, int64_t plane, int64_t y) {
      function_(run.slots[input_.slot] + input_.layout.at(n, plane, y, 0), out(run) + output_.layout.at(n, plane, y, 0),
                static_cast<size_t>(output_.layout.shape.width * output_.layout.lanes()));
    });
  }
  std::string kernel() const override { return "activation"; }

 private:
  Value input_;
  Function function_;
};

class AddStep final : public Step {
 public:
  AddStep(Value first, Value second, BinaryF32 add, Function after, Value output)
      : Step(output), first_(first), second_(second), add_(add), after_(after) {}

  void Run(const RunState& run) const override {
    const size_t width = static_cast<size_t>(output_.layout.shape.width * kBlock);
    ForRows(output_.layout, run.threads, [&](int64_t n, int64_t block, int64_t y) {
      float* row = out(run) + output_.layout.at(n, block, y, 0);
      add_(run.slots[first_.slot] + first_.layout.at(n, block, y, 0), run.slots[second_.slot] + second_.layout.at(n, block, y, 0), row,
           width);
      if (after_) after_(row, row, width);
    });
  }
  std::string kernel() const override { return "add"; }

 private:
  Value first_, second_;
  BinaryF32 add_;
  Function after_;
};

class Gate final : public Step {
 public:
  Gate(Value input, Value gate, Value output) : Step(output), input_(input), gate_(gate) {}

  void Run(const RunState& run) const override {
    ForRows(output_.layout, run.threads, [&](int64_t n, int64_t block, int64_t y) {
      const float* x = run.slots[input_.slot] + input_.layout.at(n, block, y, 0);
      const float* gate = run.slots[gate_.slot] + gate_.layout.at(n, block, 0, 0);
      float* to = out(run) + output_.layout.at(n, block, y, 0);
      for (int64_t i = 0; i < output_.layout.shape.width; ++i) {
        for (int lane = 0; lane < kBlock; ++lane) to[i * kBlock + lane] = x[i * kBlock + lane] * gate[lane];
      }
    });
  }
  std::string kernel() const override { return "gate"; }

 private:
  Value input_, gate_;
};

class FrameStep final : public Step {
 public:
  FrameStep(Value input, int64_t top, int64_t left, std::vector<float> fill, Value output)
      : Step(output), input_(input), top_(top), left_(left), fill_(std::move(fill)) {
    fill_.resize(static_cast<size_t>(output.layout.blocks() * kBlock));
  }

  void Run(const RunState& run) const override {
    const ImageShape& from = input_.layout.shape;
    ForRows(output_.layout, run.threads, [&](int64_t n, int64_t block, int64_t y) {
      float* to = out(run) + output_.layout.at(n, block, y, 0);
      const float* fill = fill_.data() + block * kBlock;
      const bool inside = y >= top_ && y < top_ + from.height;
      const float* row = inside ? run.slots[input_.slot] + input_.layout.at(n, block, y - top_, 0) : nullptr;
      for (int64_t x = 0; x < output_.layout.shape.width; ++x, to += kBlock) {
        const int64_t column = x - left_;
        std::copy_n(row != nullptr && column >= 0 && column < from.width ? row + column * kBlock : fill, kBlock, to);
      }
    });
  }
  std::string kernel() const override { return "frame"; }

 private:
  Value input_;
  int64_t top_, left_;
  std::vector<float> fill_;
};

class SoftmaxStep final : public Step {
 public:
  SoftmaxStep(Value input, Value output) : Step(output), input_(input) {}

  void Run(const RunState& run) const override {
    const Layout &in = input_.layout, &to = output_.layout;
    ForEach(to.shape.batch * to.shape.height, run.threads, [&](int64_t index, int) {
      const int64_t n = index / to.shape.height, y = index % to.shape.height, channels = to.shape.channels;
      for (int64_t x = 0; x < to.shape.width; ++x) {
        const float* from = run.slots[input_.slot] + in.at(n, 0, y, x);
        float* result = out(run) + to.at(n, 0, y, x);
        const auto value = [&](int64_t c) { return static_cast<double>(from[c / kBlock * in.plane() + c % kBlock]); };
        double largest = value(0), sum = 0;
        for (int64_t c = 1; c < channels; ++c) largest = std::max(largest, value(c));
        for (int64_t c = 0; c < channels; ++c) sum += std::exp(value(c) - largest);
        for (int64_t c = 0; c < channels; ++c)
          result[c / kBlock * to.plane() + c % kBlock] = static_cast<float>(std::exp(value(c) - largest) / sum);
      }
      ClearPaddedChannels(to, to.planes() - 1, out(run) + to.at(n, to.planes() - 1, y, 0));
    });
  }
  std::string kernel() const override { return "softmax"; }

 private:
  Value input_;
};

class Flatten final : public Step {
 public:
  Flatten(Value input, Value output) : Step(output), input_(input) {}

  void Run(const RunState& run) const override {
    const Layout &in = input_.layout, &to = output_.layout;
    const ImageShape& s = in.shape;
    ForEach(s.batch * s.channels, run.threads, [&](int64_t index, int) {
      const int64_t n = index / s.channels, c = index % s.channels;
      for (int64_t y = 0; y < s.height; ++y) {
        for (int64_t x = 0; x < s.width; ++x) {
          const int64_t feature = (c * s.height + y) * s.width + x;
          out(run)[to.at(n, feature / kBlock, 0, 0) + feature % kBlock] = run.slots[input_.slot][in.at(n, c / kBlock, y, x) + c % kBlock];
        }
      }
    });
    for (int64_t n = 0; n < s.batch; ++n) ClearPaddedChannels(to, to.planes() - 1, out(run) + to.at(n, to.planes() - 1, 0, 0));
  }
  std::string kernel() const override { return "flatten"; }

 private:
  Value input_;
};

}  // namespace

std::unique_ptr<Step> MakeActivation(Value input, Function function, Value output) {
  return std::make_unique<ActivationStep>(input, function, output);
}
std::unique_ptr<Step> MakeAdd(Value first, Value second, Function after, const KernelTable& kernels, Value output) {
  return std::make_unique<AddStep>(first, second, kernels.add, after, output);
}
std::unique_ptr<Step> MakeGate(Value input, Value gate, Value output) { return std::make_unique<Gate>(input, gate, output); }
std::unique_ptr<Step> MakeFrame(Value input, int64_t top, int64_t left, std::vector<float> fill, Value output) {
  return std::make_unique<FrameStep>(input, top, left, std::move(fill), output);
}
std::unique_ptr<Step> MakeSoftmax(Value input, Value output) { return std::make_unique<SoftmaxStep>(input, output); }
std::unique_ptr<Step> MakeFlatten(Value input, Value output) { return std::make_unique<Flatten>(input, output); }

}  // namespace repfuse
