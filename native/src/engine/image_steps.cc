#include "image_steps.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "tensor_shapes.h"

namespace repfuse {
namespace {

// Where the pixel (y, x) of channel c of image n lies.
int64_t PlaceOf(const Layout& layout, int64_t n, int64_t c, int64_t y, int64_t x) {
  return layout.at(n, c / layout.lanes(), y, x) + c % layout.lanes();
}

template <typename Body>
void ForRows(const Layout& layout, int threads, const Body& body) {
  const int64_t height = layout.shape.height, planes = layout.planes();
  ForEach(layout.shape.batch * planes * height, threads,
          [&](int64_t index, int) { body(index / height / planes, index / height % planes, index % height); });
}

template <BinaryFunction kFunction>
float Combine(float a, float b) {
  if constexpr (kFunction == BinaryFunction::kAdd) return a + b;
  if constexpr (kFunction == BinaryFunction::kSub) return a - b;
  if constexpr (kFunction == BinaryFunction::kMul) return a * b;
  if constexpr (kFunction == BinaryFunction::kDiv) return a / b;
  return a < 0 ? a * b : a;
}

// How an operand follows the result: 0 along what it has one of.
struct Follow {
  int64_t image, plane, row, pixel, lane;
};

template <BinaryFunction kFunction>
class ImageBinary final : public Step {
 public:
  ImageBinary(const NetworkNode& node, const std::vector<Value>& inputs, Value output) : Step(output), inputs_(inputs) {
    for (const Value& input : inputs) {
      const ImageShape& s = input.layout.shape;
      const auto many = [](int64_t size) { return size > 1 ? int64_t{1} : 0; };
      follows_.push_back({many(s.batch), many(s.channels), many(s.height), many(s.width), many(s.channels)});
    }
    if (inputs.size() > 1) return;
    // One value for each channel, in blocks.
    const size_t count = node.bias.bytes() / sizeof(float);
    constant_.assign(static_cast<size_t>(output.layout.planes() * output.layout.lanes()), 0.0f);
    for (size_t c = 0; c < static_cast<size_t>(output.layout.shape.channels); ++c) constant_[c] = node.bias.as<float>()[count == 1 ? 0 : c];
    constant_first_ = node.constant_first;
  }

  void Run(const RunState& run) const override {
    const Layout& to = output_.layout;
    const int64_t lanes = to.lanes();
    ForRows(to, run.threads, [&](int64_t n, int64_t plane, int64_t y) {
      float* row = out(run) + to.at(n, plane, y, 0);
      const Operand first = At(run, 0, n, plane, y);
      const Operand second = inputs_.size() > 1 ? At(run, 1, n, plane, y) : Operand{constant_.data() + plane * lanes, 0, 1};
      const Operand &a = constant_first_ ? second : first, &b = constant_first_ ? first : second;
      for (int64_t x = 0; x < to.shape.width; ++x) {
        const float *of_a = a.row + x * a.pixel, *of_b = b.row + x * b.pixel;
        for (int64_t lane = 0; lane < lanes; ++lane) row[x * lanes + lane] = Combine<kFunction>(of_a[lane * a.lane], of_b[lane * b.lane]);
      }
      ClearPaddedChannels(to, plane, row);
    });
  }
  std::string kernel() const override { return "binary"; }

 private:
  struct Operand {
    const float* row;
    int64_t pixel, lane;
  };
  Operand At(const RunState& run, size_t index, int64_t n, int64_t plane, int64_t y) const {
    const Layout& layout = inputs_[index].layout;
    const Follow& f = follows_[index];
    return {run.slots[inputs_[index].slot] + layout.at(n * f.image, plane * f.plane, y * f.row, 0), f.pixel * layout.pixel(), f.lane};
  }

  std::vector<Value> inputs_;
  std::vector<Follow> follows_;
  std::vector<float> constant_;
  bool constant_first_ = false;
};

class ImageConcat final : public Step {
 public:
  ImageConcat(const std::vector<Value>& inputs, Value output) : Step(output), inputs_(inputs) {}

  void Run(const RunState& run) const override {
    const Layout& to = output_.layout;
    const int64_t lanes = to.lanes(), width = to.shape.width;
    ForEach(to.shape.batch * to.shape.height, run.threads, [&](int64_t index, int) {
      const int64_t n = index / to.shape.height, y = index % to.shape.height;
      int64_t first = 0;  // channel
      for (const Value& input : inputs_) {
        const Layout& from = input.layout;
        const int64_t channels = from.shape.channels;
        for (int64_t c = 0; c < channels; c += lanes) {
          const float* x = run.slots[input.slot] + from.at(n, c / lanes, y, 0);
          if (first % lanes == 0 && c + lanes <= channels) {  // whole blocks
            std::copy_n(x, width * lanes, out(run) + to.at(n, (first + c) / lanes, y, 0));
            continue;
          }
          for (int64_t lane = 0; lane < std::min(lanes, channels - c); ++lane) {
            float* row = out(run) + PlaceOf(to, n, first + c + lane, y, 0);
            for (int64_t i = 0; i < width; ++i) row[i * lanes] = x[i * lanes + lane];
          }
        }
        first += channels;
      }
      ClearPaddedChannels(to, to.planes() - 1, out(run) + to.at(n, to.planes() - 1, y, 0));
    });
  }
  std::string kernel() const override { return "concat"; }

 private:
  std::vector<Value> inputs_;
};

// The pixels of an axis that make one of the result; no taps: it lies outside.
struct Tap {
  int64_t index;
  double weight;
};
struct AxisTaps {
  std::vector<Tap> taps;
  std::vector<size_t> ends{0};  // where the taps of each pixel begin, and the last ones end

  int64_t size() const { return static_cast<int64_t>(ends.size()) - 1; }
  std::span<const Tap> of(int64_t index) const {
    const size_t i = static_cast<size_t>(index);
    return std::span(taps).subspan(ends[i], ends[i + 1] - ends[i]);
  }
};

// A place that may be none as an index from `low` to `high`.
int64_t IndexOf(double x, int64_t low, int64_t high) {
  if (!(x > static_cast<double>(low))) return low;
  return x < static_cast<double>(high) ? static_cast<int64_t>(x) : high;
}

double PlaceInInput(const ResizeOptions& o, int axis, const ResizedAxis& sizes, int64_t index) {
  const double x = static_cast<double>(index), from = static_cast<double>(sizes.from);
  const double to = sizes.scale * from;  // not yet rounded
  const double start = o.crop[static_cast<size_t>(axis)], end = o.crop[static_cast<size_t>(axis) + 2];
  switch (o.coordinates) {
    case ResizeCoordinates::kHalfPixel: return (x + 0.5) / sizes.scale - 0.5;
    case ResizeCoordinates::kHalfPixelSymmetric: {
      const double adjustment = static_cast<double>(sizes.to) / to;
      return from / 2 * (1 - adjustment) + (x + 0.5) / sizes.scale - 0.5;
    }
    case ResizeCoordinates::kPytorchHalfPixel: return to > 1 ? (x + 0.5) / sizes.scale - 0.5 : 0;
    case ResizeCoordinates::kAlignCorners: return to == 1 ? 0 : x * (from - 1) / (to - 1);
    case ResizeCoordinates::kAsymmetric: return x / sizes.scale;
    case ResizeCoordinates::kTfHalfPixelForNn: return (x + 0.5) / sizes.scale;
    case ResizeCoordinates::kTfCropAndResize:
      return to > 1 ? start * (from - 1) + x * (end - start) * (from - 1) / (to - 1) : 0.5 * (start + end) * (from - 1);
  }
  return x;
}

double Nearest(ResizeNearest how, double x) {
  switch (how) {
    case ResizeNearest::kRoundPreferFloor: return std::ceil(x - 0.5);
    case ResizeNearest::kRoundPreferCeil: return std::floor(x + 0.5);
    case ResizeNearest::kFloor: return std::floor(x);
    case ResizeNearest::kCeil: return std::ceil(x);
  }
  return 0;
}

double Triangle(double distance) { return std::max(0.0, 1 - std::abs(distance)); }

// Keys, Cubic convolution interpolation for digital image processing, equation 4, with a free.
double Cubic(double distance, double a) {
  const double d = std::abs(distance);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? a * (((d - 5) * d + 8) * d - 4) : 0;
}

void AddTaps(const ResizeOptions& o, double x, const ResizedAxis& sizes, std::vector<Tap>* taps) {
  const int64_t last = sizes.from - 1;
  if (o.mode == ResizeMode::kNearest) {
    taps->push_back({IndexOf(Nearest(o.nearest, x), 0, last), 1});
    return;
  }
  const double stretch = o.antialias ? std::min(sizes.scale, 1.0) : 1, reach = ResizeReach(o, sizes), first = std::floor(x - reach) + 1;
  const size_t begin = taps->size();
  const int64_t most = MostTaps(o, sizes);
  double sum = 0;
  for (int64_t k = 0; k < most && first + static_cast<double>(k) < x + reach; ++k) {
    const double i = first + static_cast<double>(k), distance = (i - x) * stretch;
    double weight = o.mode == ResizeMode::kLinear ? Triangle(distance) : Cubic(distance, o.cubic_a);
    if (o.exclude_outside && (i < 0 || i > static_cast<double>(last))) weight = 0;
    taps->push_back({IndexOf(i, 0, last), weight});
    sum += weight;
  }
  for (size_t k = begin; k < taps->size(); ++k) (*taps)[k].weight /= sum;
}

AxisTaps TapsOf(const ResizeOptions& o, int axis, const ResizedAxis& sizes) {
  AxisTaps taps;
  taps.ends.reserve(static_cast<size_t>(sizes.to) + 1);
  for (int64_t i = 0; i < sizes.to; ++i) {
    const double x = PlaceInInput(o, axis, sizes, i);
    const bool outside = o.coordinates == ResizeCoordinates::kTfCropAndResize && !(x >= 0 && x <= static_cast<double>(sizes.from - 1));
    if (!outside) AddTaps(o, x, sizes, &taps.taps);
    taps.ends.push_back(taps.taps.size());
  }
  return taps;
}

class Resize final : public Step {
 public:
  Resize(const ResizeOptions& options, Value input, Value output)
      : Step(output), input_(input), outside_(static_cast<float>(options.extrapolation)) {
    const ImageShape& s = input.layout.shape;
    rows_ = TapsOf(options, 0, ResizedAxisOf(options, 0, s.height, s.width));
    columns_ = TapsOf(options, 1, ResizedAxisOf(options, 1, s.height, s.width));
  }

  void Run(const RunState& run) const override {
    const int64_t lanes = output_.layout.lanes();
    ForRows(output_.layout, run.threads, [&](int64_t n, int64_t plane, int64_t y) {
      float* row = out(run) + output_.layout.at(n, plane, y, 0);
      const std::span<const Tap> down = rows_.of(y);
      for (int64_t x = 0; x < columns_.size(); ++x) {
        RunPixel(run.slots[input_.slot], n, plane, down, columns_.of(x), row);
        row += lanes;
      }
      ClearPaddedChannels(output_.layout, plane, out(run) + output_.layout.at(n, plane, y, 0));  // what lies outside may be any number
    });
  }
  std::string kernel() const override { return "resize"; }

 private:
  void RunPixel(const float* x, int64_t n, int64_t plane, std::span<const Tap> down, std::span<const Tap> across, float* y) const {
    const Layout& from = input_.layout;
    const int64_t lanes = from.lanes();
    if (down.empty() || across.empty()) {
      std::fill_n(y, lanes, outside_);
      return;
    }
    if (down.size() == 1 && across.size() == 1) {
      std::copy_n(x + from.at(n, plane, down[0].index, across[0].index), lanes, y);
      return;
    }
    double sum[kBlock] = {};
    for (const Tap& r : down) {
      for (const Tap& c : across) {
        const float* pixel = x + from.at(n, plane, r.index, c.index);
        const double weight = r.weight * c.weight;
        for (int64_t lane = 0; lane < lanes; ++lane) sum[lane] += weight * pixel[lane];
      }
    }
    for (int64_t lane = 0; lane < lanes; ++lane) y[lane] = static_cast<float>(sum[lane]);
  }

  Value input_;
  float outside_;
  AxisTaps rows_, columns_;
};

class DepthToSpace final : public Step {
 public:
  DepthToSpace(const NetworkNode& node, Value input, Value output)
      : Step(output), input_(input), height_(node.ints[0]), width_(node.ints[1]), channels_first_(node.ints[2] != 0) {}

  void Run(const RunState& run) const override {
    const Layout &in = input_.layout, &to = output_.layout;
    const int64_t lanes = to.lanes(), channels = to.shape.channels, blocks = height_ * width_;
    ForRows(to, run.threads, [&](int64_t n, int64_t plane, int64_t y) {
      float* row = out(run) + to.at(n, plane, y, 0);
      for (int64_t lane = 0; lane < std::min(lanes, channels - plane * lanes); ++lane) {
        const int64_t c = plane * lanes + lane;
        for (int64_t j = 0; j < width_; ++j) {
          const int64_t block = y % height_ * width_ + j, source = channels_first_ ? c * blocks + block : block * channels + c;
          const float* from = run.slots[input_.slot] + PlaceOf(in, n, source, y / height_, 0);
          for (int64_t x = 0; x < in.shape.width; ++x) row[(x * width_ + j) * lanes + lane] = from[x * in.pixel()];
        }
      }
      ClearPaddedChannels(to, plane, row);
    });
  }
  std::string kernel() const override { return "depth to space"; }

 private:
  Value input_;
  int64_t height_, width_;
  bool channels_first_;
};

}  // namespace

std::unique_ptr<Step> MakeImageBinary(const NetworkNode& node, const std::vector<Value>& inputs, Value output) {
  switch (node.function) {
    case BinaryFunction::kAdd: return std::make_unique<ImageBinary<BinaryFunction::kAdd>>(node, inputs, output);
    case BinaryFunction::kSub: return std::make_unique<ImageBinary<BinaryFunction::kSub>>(node, inputs, output);
    case BinaryFunction::kMul: return std::make_unique<ImageBinary<BinaryFunction::kMul>>(node, inputs, output);
    case BinaryFunction::kDiv: return std::make_unique<ImageBinary<BinaryFunction::kDiv>>(node, inputs, output);
    case BinaryFunction::kPRelu: return std::make_unique<ImageBinary<BinaryFunction::kPRelu>>(node, inputs, output);
  }
  return nullptr;
}
std::unique_ptr<Step> MakeImageConcat(const std::vector<Value>& inputs, Value output) {
  return std::make_unique<ImageConcat>(inputs, output);
}
std::unique_ptr<Step> MakeResize(const ResizeOptions& options, Value input, Value output) {
  return std::make_unique<Resize>(options, input, output);
}
std::unique_ptr<Step> MakeDepthToSpace(const NetworkNode& node, Value input, Value output) {
  return std::make_unique<DepthToSpace>(node, input, output);
}

}  // namespace repfuse
