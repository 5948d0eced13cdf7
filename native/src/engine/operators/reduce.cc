// What a function makes of all values along some axes: sums and their like in float64, extremes, and where the first or last of those lie.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../walk.h"
#include "operator.h"

namespace repfuse {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// What a function knows of the values that it has seen.
struct Tally {
  double value, more;
};

// The values that become one: axes with the distance of their elements.
struct Terms {
  Shape shape;
  Strides strides{};

  void Append(int64_t size, int64_t stride) {
    if (size == 1) return;
    const size_t last = static_cast<size_t>(shape.rank) - 1;
    if (shape.rank > 0 && strides[last] == stride * size) {  // they follow each other
      shape.dims[last] *= size;
      strides[last] = stride;
      return;
    }
    strides[static_cast<size_t>(shape.rank)] = stride;
    shape[shape.rank++] = size;
  }
  int64_t at(int64_t index, int axes) const {
    int64_t offset = 0;
    for (int axis = axes - 1; axis >= 0; index /= shape[axis--]) offset += index % shape[axis] * strides[static_cast<size_t>(axis)];
    return offset;
  }
  int64_t at(int64_t index) const { return at(index, shape.rank); }
};

// Results that lie side by side are made together.
constexpr int kMaxLanes = kBlock;

}  // namespace

struct Reduction {
  const char* name;
  Tally start;
  // Of `lanes` neighbours each; `first` is the number of terms that came before.
  void (*take)(const float* x, const Terms& terms, int lanes, int64_t first, Tally* tallies);
  float (*finish)(const Tally& tally, int64_t count);
  bool is_place = false;  // of an extreme, among the terms in row-major order
};

namespace {

// The one loop.
template <void (*kTake)(Tally& tally, double x, int64_t index)>
void Take(const float* x, const Terms& terms, int lanes, int64_t first, Tally* tallies) {
  const int outer = std::max(terms.shape.rank - 1, 0);
  const int64_t rows = terms.shape.count(0, outer), length = terms.shape.rank > 0 ? terms.shape[outer] : 1;
  const int64_t step = terms.shape.rank > 0 ? terms.strides[static_cast<size_t>(outer)] : 0;
  for (int64_t row = 0; row < rows; ++row) {
    const float* from = x + terms.at(row, outer);
    for (int64_t i = 0; i < length; ++i, from += step, ++first) {
      if (lanes == kMaxLanes)
        for (int lane = 0; lane < kMaxLanes; ++lane) kTake(tallies[lane], from[lane], first);
      else
        for (int lane = 0; lane < lanes; ++lane) kTake(tallies[lane], from[lane], first);
    }
  }
}

void Add(Tally& t, double x, int64_t) { t.value += x; }
void AddSize(Tally& t, double x, int64_t) { t.value += std::abs(x); }
void AddSquare(Tally& t, double x, int64_t) { t.value += x * x; }
void Multiply(Tally& t, double x, int64_t) { t.value *= x; }
// NaN wins.
bool IsAbove(double x, double y) { return x > y || (std::isnan(x) && !std::isnan(y)); }
void TakeLargest(Tally& t, double x, int64_t) {
  if (IsAbove(x, t.value)) t.value = x;
}
void TakeLeast(Tally& t, double x, int64_t) {
  if (IsAbove(-x, -t.value)) t.value = x;
}
// The place is kept beside the value.
template <int kSign, bool kLast>
void TakePlace(Tally& t, double x, int64_t index) {
  const bool wins = index == 0 || (kLast ? !IsAbove(kSign * t.value, kSign * x) : IsAbove(kSign * x, kSign * t.value));
  if (wins) t = {x, static_cast<double>(index)};
}
// The largest so far, and the sum of exponentials relative to it.
void AddExponential(Tally& t, double x, int64_t) {
  if (x == t.value) t.more += 1;
  else if (x < t.value) t.more += std::exp(x - t.value);
  else t = {x, t.more * std::exp(t.value - x) + 1};
}

float Value(const Tally& t, int64_t) { return static_cast<float>(t.value); }
float Place(const Tally& t, int64_t) { return static_cast<float>(t.more); }
float Mean(const Tally& t, int64_t count) { return static_cast<float>(t.value / static_cast<double>(count)); }
float Root(const Tally& t, int64_t) { return static_cast<float>(std::sqrt(t.value)); }
float LogOfSum(const Tally& t, int64_t) { return static_cast<float>(std::log(t.value)); }
float LogOfExponentials(const Tally& t, int64_t) { return static_cast<float>(t.value + std::log(t.more)); }

constexpr Reduction kReductions[] = {
    {"mean", {0, 0}, Take<Add>, Mean},
    {"sum", {0, 0}, Take<Add>, Value},
    {"l1", {0, 0}, Take<AddSize>, Value},
    {"l2", {0, 0}, Take<AddSquare>, Root},
    {"sum_square", {0, 0}, Take<AddSquare>, Value},
    {"log_sum", {0, 0}, Take<Add>, LogOfSum},
    {"log_sum_exp", {-kInfinity, 0}, Take<AddExponential>, LogOfExponentials},
    {"prod", {1, 0}, Take<Multiply>, Value},
    {"max", {-kInfinity, 0}, Take<TakeLargest>, Value},
    {"min", {kInfinity, 0}, Take<TakeLeast>, Value},
    {"argmax", {0, 0}, Take<TakePlace<1, false>>, Place, true},
    {"argmax_last", {0, 0}, Take<TakePlace<1, true>>, Place, true},
    {"argmin", {0, 0}, Take<TakePlace<-1, false>>, Place, true},
    {"argmin_last", {0, 0}, Take<TakePlace<-1, true>>, Place, true},
};

bool IsReduced(const NetworkNode& node, int axis) { return std::find(node.ints.begin() + 1, node.ints.end(), axis) != node.ints.end(); }

Status Result(const NetworkNode& node, std::span<const Shape> inputs, ValueType type, Shape* out) {
  const Shape& x = inputs[0];
  if (node.reduction == nullptr) return Fails("the function");
  if (node.ints.empty() || (type == ValueType::kImages && node.ints[0] == 0)) return Fails("the axes");
  *out = {};
  for (size_t i = 1; i < node.ints.size(); ++i) {
    if (node.ints[i] < 0 || node.ints[i] >= x.rank) return Fails("an axis");
  }
  // A place beyond that is no float32.
  int64_t terms = 1;
  for (int axis = 0; axis < x.rank; ++axis) {
    if (!IsReduced(node, axis)) (*out)[out->rank++] = x[axis];
    else if (node.ints[0] != 0) (*out)[out->rank++] = 1;
    if (IsReduced(node, axis)) terms *= x[axis];
  }
  return node.reduction->is_place && terms > int64_t{1} << 24 ? Fails("so many places") : Ok();
}

std::unique_ptr<Step> TensorStep(const StepParts& parts) {
  const Shape& x = parts.inputs[0].shape;
  const Strides dense = DenseStrides(x);
  Terms kept, reduced;
  for (int axis = 0; axis < x.rank; ++axis)
    (IsReduced(parts.node, axis) ? reduced : kept).Append(x[axis], dense[static_cast<size_t>(axis)]);
  const int last = kept.shape.rank - 1;
  const bool together = last >= 0 && kept.strides[static_cast<size_t>(last)] == 1;
  const int64_t neighbours = together ? kept.shape[last] : 1;
  return MakeStep(parts, "reduce",
                  [=, input = parts.inputs[0].value, output = parts.output.value, how = *parts.node.reduction](const RunState& run) {
                    const int64_t count = reduced.shape.count(), shares = (neighbours + kMaxLanes - 1) / kMaxLanes;
                    ForEach(kept.shape.count() / neighbours * shares, run.threads, [&](int64_t index, int) {
                      const int64_t first = index / shares * neighbours + index % shares * kMaxLanes;
                      const int lanes = static_cast<int>(std::min<int64_t>(kMaxLanes, neighbours - index % shares * kMaxLanes));
                      Tally tallies[kMaxLanes];
                      std::fill_n(tallies, kMaxLanes, how.start);
                      how.take(run.at(input) + kept.at(first), reduced, lanes, 0, tallies);
                      for (int lane = 0; lane < lanes; ++lane) run.at(output)[first + lane] = how.finish(tallies[lane], count);
                    });
                  });
}

// The reduced axes stay, of one element.
std::unique_ptr<Step> ImageStep(const StepParts& parts) {
  const bool of_images = IsReduced(parts.node, 0), of_channels = IsReduced(parts.node, 1);
  const bool of_rows = IsReduced(parts.node, 2), of_columns = IsReduced(parts.node, 3);
  return MakeStep(parts, "reduce",
                  [=, input = parts.inputs[0].value, output = parts.output.value, how = *parts.node.reduction](const RunState& run) {
                    const Layout &in = input.layout, &to = output.layout;
                    const ImageShape& s = in.shape;
                    // The terms of a pixel of the result: of every plane that it is made of the same, but for the channels that the last
                    // one lacks.
                    const auto terms_of = [&](int64_t planes, int64_t channels) {
                      Terms terms;
                      if (of_images) terms.Append(s.batch, in.image());
                      terms.Append(planes, in.plane());
                      if (of_rows) terms.Append(s.height, in.row());
                      if (of_columns) terms.Append(s.width, in.pixel());
                      if (of_channels) terms.Append(channels, 1);
                      return terms;
                    };
                    const int64_t whole = of_channels ? s.channels / in.lanes() : 1, rest = of_channels ? s.channels % in.lanes() : 0;
                    const Terms terms = terms_of(whole, in.lanes()), last = terms_of(1, rest);
                    const int64_t first = whole > 0 ? terms.shape.count() : 0, count = first + (rest > 0 ? last.shape.count() : 0);
                    const int lanes = static_cast<int>(of_channels ? 1 : in.lanes());
                    ForRows(to, run.threads, [&](int64_t n, int64_t plane, int64_t y) {
                      float* row = run.at(output) + to.at(n, plane, y, 0);
                      for (int64_t x = 0; x < to.shape.width; ++x, row += to.lanes()) {
                        Tally tallies[kMaxLanes];
                        std::fill_n(tallies, kMaxLanes, how.start);
                        if (whole > 0) how.take(run.at(input) + in.at(n, plane, y, x), terms, lanes, 0, tallies);
                        if (rest > 0) how.take(run.at(input) + in.at(n, whole, y, x), last, lanes, first, tallies);
                        for (int lane = 0; lane < lanes; ++lane) row[lane] = how.finish(tallies[lane], count);
                      }
                      ClearPaddedChannels(to, plane, run.at(output) + to.at(n, plane, y, 0));
                    });
                  });
}

std::unique_ptr<Step> ReduceStep(const StepParts& parts) { return parts.type == ValueType::kImages ? ImageStep(parts) : TensorStep(parts); }

}  // namespace

const Reduction* FindReduction(std::string_view name) {
  const auto* found = std::find_if(std::begin(kReductions), std::end(kReductions), [&](const Reduction& r) { return r.name == name; });
  return found == std::end(kReductions) ? nullptr : found;
}

const Operator kReduce{"reduce", {1, 1}, ValueTypes::kAsInputs, Result, ReduceStep};

}  // namespace repfuse
