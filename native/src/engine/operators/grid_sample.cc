// Pixels of images [N, C, H, W] at places that a grid [N, height, width, 2] names by x and y from -1 to 1.
#include <algorithm>
#include <array>
#include <cmath>

#include "operator.h"

namespace repfuse {
namespace {

enum Mode { kNearest, kLinear, kCubic, kModes };
enum Padding { kZeros, kBorder, kReflection, kPaddings };

// The node's integers: mode, padding, 1 where -1 and 1 are the centres of the pixels at the edges.
Status Result(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  const Shape &x = inputs[0], &grid = inputs[1];
  if (node.ints.size() != 3 || node.ints[0] < 0 || node.ints[0] >= kModes || node.ints[1] < 0 || node.ints[1] >= kPaddings)
    return Fails("the mode");
  if (x.rank != 4 || grid.rank != 4 || grid[0] != x[0] || grid[3] != 2) return Fails("the shape of the grid");
  *out = Shape::Of({x[0], x[1], grid[1], grid[2]});
  return Ok();
}

// A place between `low` and `high`, reflected there.
double Reflected(double place, double low, double high) {
  const double span = high - low;
  if (span <= 0) return low;
  const double beyond = std::fmod(std::fabs(place - low), 2 * span);
  return low + (beyond <= span ? beyond : 2 * span - beyond);
}

struct Axis {
  int64_t size;
  Padding padding;
  bool align_corners;

  double edge() const { return align_corners ? 0 : -0.5; }
  double PlaceOf(float at) const {
    const double pixels = static_cast<double>(size);
    return align_corners ? (static_cast<double>(at) + 1) / 2 * (pixels - 1) : ((static_cast<double>(at) + 1) * pixels - 1) / 2;
  }
  double Padded(double place) const {
    const double last = static_cast<double>(size - 1);
    if (padding == kReflection) place = Reflected(place, edge(), last - edge());
    return padding == kZeros ? place : std::clamp(place, 0.0, last);
  }
  // Of a whole place; -1 where a zero stands.
  int64_t PixelAt(double place) const {
    const double at = Padded(place);
    return at >= 0 && at <= static_cast<double>(size - 1) ? static_cast<int64_t>(at) : -1;
  }
};

// What a place reads along an axis: pixels (-1: zero) and what each counts for.
struct Taps {
  int count = 0;
  std::array<int64_t, 4> pixels{};
  std::array<double, 4> weights{};

  void Add(const Axis& axis, double place, double weight) {
    pixels[static_cast<size_t>(count)] = axis.PixelAt(place);
    weights[static_cast<size_t>(count++)] = weight;
  }
};

Taps TapsOf(const Axis& axis, Mode mode, float at) {
  Taps taps;
  const double place = axis.PlaceOf(at);
  if (!std::isfinite(place)) return taps;
  if (mode == kNearest) {
    taps.Add(axis, std::nearbyint(axis.Padded(place)), 1);
  } else if (mode == kLinear) {
    const double padded = axis.Padded(place), first = std::floor(padded), share = padded - first;
    taps.Add(axis, first, 1 - share);
    taps.Add(axis, first + 1, share);
  } else {
    constexpr double kA = -0.75;
    const double first = std::floor(place), share = place - first;
    const auto near = [](double d) { return ((kA + 2) * d - (kA + 3)) * d * d + 1; };
    const auto far = [](double d) { return ((kA * d - 5 * kA) * d + 8 * kA) * d - 4 * kA; };
    taps.Add(axis, first - 1, far(share + 1));
    taps.Add(axis, first, near(share));
    taps.Add(axis, first + 1, near(1 - share));
    taps.Add(axis, first + 2, far(2 - share));
  }
  return taps;
}

std::unique_ptr<Step> GridSampleStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, places = parts.inputs[1].value, output = parts.output.value;
  const Shape &x = parts.inputs[0].shape, &y = parts.output.shape;
  const Mode mode = static_cast<Mode>(parts.node.ints[0]);
  const Padding padding = static_cast<Padding>(parts.node.ints[1]);
  const bool align = parts.node.ints[2] != 0;
  const Axis rows{x[2], padding, align}, columns{x[3], padding, align};
  const int64_t channels = x[1], plane = x[2] * x[3], width = x[3], result = y[2] * y[3];
  return MakeStep(parts, "grid sample", [=, images = x[0]](const RunState& run) {
    ForEach(images * result, run.threads, [&](int64_t index, int) {
      const float* at = run.at(places) + 2 * index;
      const Taps across = TapsOf(columns, mode, at[0]), down = TapsOf(rows, mode, at[1]);
      const int64_t n = index / result;
      for (int64_t c = 0; c < channels; ++c) {
        const float* image = run.at(input) + (n * channels + c) * plane;
        double sum = 0;
        for (size_t i = 0; i < static_cast<size_t>(down.count); ++i) {
          for (size_t j = 0; j < static_cast<size_t>(across.count); ++j) {
            if (down.pixels[i] < 0 || across.pixels[j] < 0) continue;
            sum += down.weights[i] * across.weights[j] * static_cast<double>(image[down.pixels[i] * width + across.pixels[j]]);
          }
        }
        run.at(output)[(n * channels + c) * result + index % result] = static_cast<float>(sum);
      }
    });
  });
}

}  // namespace

const Operator kGridSample{"gridSample", {2, 2}, ValueTypes::kTensors, Result, GridSampleStep};

}  // namespace repfuse
