// ONNX's Resize of height and width, plane by plane: of a tensor, or of a block of channels. Weights of pixels in float64.
#include <algorithm>
#include <cmath>
#include <vector>

#include "../epilogue.h"
#include "repfuse/checked.h"
#include "resize.h"

namespace repfuse {
namespace {

// Whether sizes can be had of its numbers.
bool IsFinite(const ResizeOptions& o) {
  const auto finite = [](double value) { return std::isfinite(value); };
  return std::all_of(o.scales.begin(), o.scales.end(), finite) && std::all_of(o.crop.begin(), o.crop.end(), finite) && finite(o.cubic_a) &&
         finite(o.extrapolation);
}

// A whole number of pixels that is no size if there is none, or one beyond all bounds.
int64_t SizeOf(double pixels) { return pixels >= 1 ? static_cast<int64_t>(std::min(std::floor(pixels), 1e10)) : 0; }

// Of a resized axis: sizes before and after, and how far a pixel there is apart from the next, in pixels of the result.
struct ResizedAxis {
  int64_t from, to;
  double scale;
};
// The options of a resizing, with the sizes that a second input tells.
ResizeOptions ResizeLike(const ResizeOptions& options, const Shape* like) {
  ResizeOptions resize = options;
  if (like != nullptr) resize.sizes = {(*like)[2], (*like)[3]};
  return resize;
}

ResizedAxis ResizedAxisOf(const ResizeOptions& o, int axis, int64_t height, int64_t width) {
  const std::array<int64_t, 2> from{height, width};
  const size_t own = static_cast<size_t>(axis);
  if (o.sizes[own] == 0) {
    const double share = o.coordinates == ResizeCoordinates::kTfCropAndResize ? o.crop[own + 2] - o.crop[own] : 1;
    return {from[own], SizeOf(static_cast<double>(from[own]) * share * o.scales[own]), o.scales[own]};
  }
  double scale = static_cast<double>(o.sizes[own]) / static_cast<double>(from[own]);
  if (o.aspect == ResizeAspect::kStretch) return {from[own], o.sizes[own], scale};
  for (size_t i = 0; i < 2; ++i) {
    if (o.sizes[i] == 0) continue;
    const double other = static_cast<double>(o.sizes[i]) / static_cast<double>(from[i]);
    scale = o.aspect == ResizeAspect::kNotLarger ? std::min(scale, other) : std::max(scale, other);
  }
  return {from[own], SizeOf(scale * static_cast<double>(from[own]) + 0.5), scale};
}

// How far from its place in the input a pixel of the result reads (not of the nearest mode).
double ResizeReach(const ResizeOptions& options, const ResizedAxis& sizes) {
  // Where an axis shrinks, antialiasing widens the filter.
  return (options.mode == ResizeMode::kLinear ? 1 : 2) / (options.antialias ? std::min(sizes.scale, 1.0) : 1);
}

// How many pixels it reads at most.
int64_t MaxTaps(const ResizeOptions& options, const ResizedAxis& sizes) {
  return options.mode == ResizeMode::kNearest ? 1 : SizeOf(2 * ResizeReach(options, sizes)) + 2;
}

Status Result(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  // Bytes that the taps of a result may take besides as many as the result takes.
  constexpr int64_t kMaxTapBytes = int64_t{32} << 20;
  const Shape& x = inputs[0];
  if (x.rank != 4 || inputs.back().rank != 4) return Fails("an input that is no image");
  const ResizeOptions options = ResizeLike(node.resize, inputs.size() > 1 ? &inputs[1] : nullptr);
  if (!IsFinite(options)) return Fails("a number of the resizing");
  Checked taps = 0;
  for (int axis = 0; axis < 2; ++axis) {
    const ResizedAxis sizes = ResizedAxisOf(options, axis, x[2], x[3]);
    (*out)[2 + axis] = sizes.to;
    taps += Checked(sizes.to) * (MaxTaps(options, sizes) * 16 + 8);
  }
  const Checked bytes = out->checked_count() * 4;
  return bytes.ok() && taps.AtMost((bytes + kMaxTapBytes).value()) ? Ok() : Status{Code::kTooLarge, "the taps of the resizing"};
}

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
  // Whether each pixel of the result is one of the input.
  bool AreSingle() const {
    for (size_t i = 0; i < ends.size(); ++i) {
      if (ends[i] != i) return false;
    }
    return true;
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
  const int64_t most = MaxTaps(o, sizes);
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

// A row of pixels of a plane whose pixels have kLanes elements. x: the plane.
template <int64_t kLanes>
void ResizeRow(const float* x, int64_t row, std::span<const Tap> down, const AxisTaps& columns, float outside, float* y) {
  for (int64_t i = 0; i < columns.size(); ++i, y += kLanes) {
    const std::span<const Tap> across = columns.of(i);
    if (down.empty() || across.empty()) {
      std::fill_n(y, kLanes, outside);
    } else if (down.size() == 1 && across.size() == 1) {
      std::copy_n(x + down[0].index * row + across[0].index * kLanes, kLanes, y);
    } else {
      double sum[kLanes] = {};
      for (const Tap& r : down) {
        for (const Tap& c : across) {
          const float* pixel = x + r.index * row + c.index * kLanes;
          const double weight = r.weight * c.weight;
          for (int64_t lane = 0; lane < kLanes; ++lane) sum[lane] += weight * pixel[lane];
        }
      }
      for (int64_t lane = 0; lane < kLanes; ++lane) y[lane] = static_cast<float>(sum[lane]);
    }
  }
}

// The same where each pixel is one of the input.
template <int64_t kLanes>
void PickRow(const float* x, const std::vector<int64_t>& columns, float* y) {
  for (const int64_t column : columns) y = std::copy_n(x + column * kLanes, kLanes, y);
}

// Rows of a resized map, wherever they are to lie.
class ResizedRows {
 public:
  explicit ResizedRows(const StepParts& parts)
      : input_(parts.inputs[0].value), outside_(static_cast<float>(parts.node.resize.extrapolation)) {
    const ResizeOptions options = ResizeLike(parts.node.resize, parts.inputs.size() > 1 ? &parts.inputs[1].shape : nullptr);
    const ImageShape& s = input_.layout.shape;
    rows_ = TapsOf(options, 0, ResizedAxisOf(options, 0, s.height, s.width));
    columns_ = TapsOf(options, 1, ResizedAxisOf(options, 1, s.height, s.width));
    if (rows_.AreSingle() && columns_.AreSingle()) {
      for (const Tap& tap : columns_.taps) picked_.push_back(tap.index);
    }
    const bool blocked = parts.output.value.layout.lanes() == kBlock;
    pick_ = blocked ? PickRow<kBlock> : PickRow<1>;
    resize_ = blocked ? ResizeRow<kBlock> : ResizeRow<1>;
  }

  void Row(const RunState& run, int64_t n, int64_t plane, int64_t y, float* row) const {
    const float* x = run.at(input_) + input_.layout.at(n, plane, 0, 0);
    const std::span<const Tap> down = rows_.of(y);
    if (picked_.empty()) resize_(x, input_.layout.row(), down, columns_, outside_, row);
    else pick_(x + down[0].index * input_.layout.row(), picked_, row);
  }

 private:
  Value input_;
  float outside_;
  AxisTaps rows_, columns_;
  std::vector<int64_t> picked_;  // where each pixel of a row is one of the input's, and each row one of its rows
  void (*pick_)(const float* x, const std::vector<int64_t>& columns, float* y);
  void (*resize_)(const float* x, int64_t row, std::span<const Tap> down, const AxisTaps& columns, float outside, float* y);
};

std::unique_ptr<Step> ResizeStep(const StepParts& parts) {
  return MakeStep(parts, "resize", [rows = ResizedRows(parts), output = parts.output.value](const RunState& run) {
    ForRows(output.layout, run.threads, [&](int64_t n, int64_t plane, int64_t y) {
      float* row = run.at(output) + output.layout.at(n, plane, y, 0);
      rows.Row(run, n, plane, y, row);
      ClearPaddedChannels(output.layout, plane, row);  // what lies outside may be any number
    });
  });
}

}  // namespace

bool CanTakeResized(const NetworkNode& sum, int resized) {
  const bool adds = sum.op == &kAdd || (sum.op == &kBinary && sum.function == FindBinaryFunction("add"));
  const size_t operands = sum.inputs.size() - (AddsItsLastInput(sum) ? 1 : 0);
  return adds && operands == 2 && (sum.inputs[0] == resized) != (sum.inputs[1] == resized);
}

std::unique_ptr<Step> MakeResizedSum(const StepParts& resized, int made, const StepParts& sum) {
  const Value output = sum.output.value;
  const Value other = sum.inputs[sum.node.inputs[0] == made ? 1 : 0].value;
  std::optional<Value> residual;
  if (AddsItsLastInput(sum.node)) residual = sum.inputs.back().value;
  return MakeStep(sum, "resize + add",
                  [=, rows = ResizedRows(resized), epilogue = Epilogue(sum.node, sum.kernels), add = sum.kernels.add](const RunState& run) {
                    ForRows(output.layout, run.threads, [&](int64_t n, int64_t plane, int64_t y) {
                      float* row = run.at(output) + output.layout.at(n, plane, y, 0);
                      const int64_t width = output.layout.shape.width;
                      rows.Row(run, n, plane, y, row);
                      add(row, run.at(other) + other.layout.at(n, plane, y, 0), row, static_cast<size_t>(width * kBlock));
                      epilogue.Apply(row, width, plane, residual ? run.at(*residual) + residual->layout.at(n, plane, y, 0) : nullptr);
                      ClearPaddedChannels(output.layout, plane, row);
                    });
                  });
}

const Operator kResize{"resize", {1, 2}, ValueTypes::kAsInputs, Result, ResizeStep};

}  // namespace repfuse
