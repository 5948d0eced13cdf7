// Filters and inputs that make a convolution lose most, and its error over the largest sum of magnitudes of its terms.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "one_input.h"
#include "repfuse/engine.h"

namespace repfuse {

// A dense convolution of stride 1 whose output is as large as its input.
struct TriedLayer {
  int64_t in, out, size, kernel;

  int64_t taps() const { return kernel * kernel; }
  int64_t pixels() const { return size * size; }
};

// `even`: no few terms carry the sums, and these are of both signs.
struct TriedFilter {
  const char* name;
  bool even;
  std::function<float(const TriedLayer& layer, int64_t out, int64_t in, int64_t tap, std::mt19937& random)> weight;
  int64_t zero_sum = 0;  // over so many weights: of a kernel (1), of an output (2)
};
struct TriedInput {
  const char* name;
  bool even;
  std::function<float(const TriedLayer& layer, int64_t channel, int64_t row, int64_t column, std::mt19937& random)> pixel;
};

inline float Normal(std::mt19937& random) { return std::normal_distribution<float>()(random); }
inline float Sign(int64_t index) { return index % 2 == 0 ? 1.0f : -1.0f; }
inline float Between1And2(std::mt19937& random) { return 1 + std::uniform_real_distribution<float>()(random); }

inline const std::vector<TriedFilter>& TriedFilters() {
  static const std::vector<TriedFilter> filters = {
      {"normal", true, [](const TriedLayer&, int64_t, int64_t, int64_t, std::mt19937& r) { return Normal(r); }},
      {"kernels of sum 0", true, [](const TriedLayer&, int64_t, int64_t, int64_t, std::mt19937& r) { return Normal(r); }, 1},
      {"filters of sum 0", true, [](const TriedLayer&, int64_t, int64_t, int64_t, std::mt19937& r) { return Normal(r); }, 2},
      {"alternating", true,
       [](const TriedLayer&, int64_t o, int64_t i, int64_t t, std::mt19937& r) { return Sign(o + i + t) * Between1And2(r); }},
      {"positive", false, [](const TriedLayer&, int64_t, int64_t, int64_t, std::mt19937& r) { return std::abs(Normal(r)); }},
      {"equal", false,
       [](const TriedLayer& l, int64_t, int64_t, int64_t, std::mt19937&) { return 1 / static_cast<float>(l.in * l.taps()); }},
      {"one corner", false,
       [](const TriedLayer& l, int64_t, int64_t, int64_t t, std::mt19937& r) { return t == l.taps() - 1 ? Normal(r) : 0; }},
      {"wide range", false,
       [](const TriedLayer&, int64_t, int64_t, int64_t, std::mt19937& r) { return Normal(r) * std::exp(3 * Normal(r)); }},
  };
  return filters;
}

// The signs of a tile that F(4, 3) takes worst, found by search for a filter of one corner tap.
inline float WorstSign(int64_t row, int64_t column) {
  static constexpr const char* kSigns[] = {"-+--++", "-++--+", "--++--", "+--++-", "++--++", "+++--+"};
  row = (row + 1) % 8;
  column = (column + 1) % 8;
  return row > 5 || column > 5 ? 0.0f : kSigns[row][column] == '+' ? 1.0f : -1.0f;
}

inline const std::vector<TriedInput>& TriedInputs() {
  static const std::vector<TriedInput> inputs = {
      {"normal", true, [](const TriedLayer&, int64_t, int64_t, int64_t, std::mt19937& r) { return Normal(r); }},
      {"common 10", true, [](const TriedLayer&, int64_t, int64_t, int64_t, std::mt19937& r) { return 10 + Normal(r); }},
      {"common 1e5", true, [](const TriedLayer&, int64_t, int64_t, int64_t, std::mt19937& r) { return 1e5f + Normal(r); }},
      {"signs by pixel", true,
       [](const TriedLayer&, int64_t, int64_t y, int64_t x, std::mt19937& r) { return Sign(y + x) * (1e3f + Normal(r)); }},
      {"signs by channel", false,
       [](const TriedLayer&, int64_t c, int64_t, int64_t, std::mt19937& r) { return Sign(c) * (1e3f + Normal(r)); }},
      {"edges", true, [](const TriedLayer&, int64_t, int64_t, int64_t x, std::mt19937& r) { return (x % 6 < 3 ? 1e4f : 0) + Normal(r); }},
      {"equal", true, [](const TriedLayer&, int64_t, int64_t, int64_t, std::mt19937&) { return 1.0f / 3; }},
      {"huge first channel", false,
       [](const TriedLayer&, int64_t c, int64_t, int64_t, std::mt19937& r) { return (c == 0 ? 1e4f : 1) * Normal(r); }},
      {"huge channel", false,
       [](const TriedLayer& l, int64_t c, int64_t, int64_t, std::mt19937& r) { return (c == l.in / 2 ? 1e6f : 1) * Normal(r); }},
      {"huge pixel", false,
       [](const TriedLayer&, int64_t, int64_t y, int64_t x, std::mt19937& r) { return y == 4 && x == 4 ? 1e6f : Normal(r); }},
      {"huge corner", false,
       [](const TriedLayer&, int64_t, int64_t y, int64_t x, std::mt19937& r) { return y == 0 && x == 0 ? 1e6f : Normal(r); }},
      {"wide range", false,
       [](const TriedLayer&, int64_t, int64_t, int64_t, std::mt19937& r) { return Normal(r) * std::exp(4 * Normal(r)); }},
      {"worst tile", false,
       [](const TriedLayer&, int64_t c, int64_t y, int64_t x, std::mt19937& r) {
         return c > 0 ? Normal(r) : 1e4f * Between1And2(r) * WorstSign(y, x);
       }},
  };
  return inputs;
}

inline std::vector<float> WeightsOf(const TriedLayer& layer, const TriedFilter& filter, std::mt19937& random) {
  std::vector<float> weights;
  for (int64_t o = 0; o < layer.out; ++o) {
    for (int64_t i = 0; i < layer.in; ++i) {
      for (int64_t tap = 0; tap < layer.taps(); ++tap) weights.push_back(filter.weight(layer, o, i, tap, random));
    }
  }
  const int64_t part = filter.zero_sum == 0 ? 0 : filter.zero_sum == 1 ? layer.taps() : layer.in * layer.taps();
  for (auto at = weights.begin(); part > 1 && at != weights.end(); at += part) {
    double mean = 0;
    for (int64_t i = 0; i < part; ++i) mean += at[i] / static_cast<double>(part);
    for (int64_t i = 0; i < part; ++i) at[i] -= static_cast<float>(mean);
  }
  return weights;
}

inline std::vector<float> PixelsOf(const TriedLayer& layer, const TriedInput& input, std::mt19937& random) {
  std::vector<float> pixels;
  for (int64_t c = 0; c < layer.in; ++c) {
    for (int64_t y = 0; y < layer.size; ++y) {
      for (int64_t x = 0; x < layer.size; ++x) pixels.push_back(input.pixel(layer, c, y, x, random));
    }
  }
  return pixels;
}

// A layer with its data, what float64 makes of them, and the largest sum of magnitudes at any place of the kernel that meets the image.
class Tried {
 public:
  Tried(const TriedLayer& layer, const TriedFilter& filter, const TriedInput& input) : layer_(layer) {
    std::mt19937 random(17);
    weight_ = WeightsOf(layer, filter, random);
    x_ = PixelsOf(layer, input, random);
    for (int64_t o = 0; o < layer.out; ++o) bias_.push_back(Normal(random));
    want_ = Run(layer.kernel / 2, {.algorithm = Algorithm::kFloat64});
    const auto weight = weight_, x = x_, bias = bias_;
    for (auto* values : {&weight_, &x_, &bias_}) {
      for (float& v : *values) v = std::abs(v);
    }
    for (const float sum : Run(layer.kernel - 1, {.algorithm = Algorithm::kFloat64})) magnitudes_ = std::max<double>(magnitudes_, sum);
    weight_ = weight, x_ = x, bias_ = bias;
  }

  // The largest error over the largest sum of magnitudes. `beside`: in a network whose other weights are so many that Winograd's have room.
  double Error(const EngineOptions& options, std::string* kernel, bool beside = false) const {
    const auto got = Run(layer_.kernel / 2, options, kernel, beside);
    double error = got.size() == want_.size() ? 0 : INFINITY;
    for (size_t i = 0; i < want_.size(); ++i)
      error = std::max(error, std::isfinite(got[i]) ? std::abs(static_cast<double>(got[i]) - want_[i]) : INFINITY);
    return error / magnitudes_;
  }

 private:
  std::vector<float> Run(int64_t padding, const EngineOptions& options, std::string* kernel = nullptr, bool beside = false) const {
    const auto buffer = [](const std::vector<float>& values) {
      AlignedBuffer made;
      if (made.Allocate(values.size() * sizeof(float))) std::memcpy(made.data(), values.data(), made.bytes());
      return made;
    };
    NetworkNode node;
    node.op = FindOperator("conv");
    node.name = "tried";
    node.inputs = {0};
    node.out_channels = layer_.out;
    node.kernel_h = node.kernel_w = layer_.kernel;
    node.pad_top = node.pad_left = node.pad_bottom = node.pad_right = padding;
    node.weight = buffer(weight_);
    node.bias = buffer(bias_);
    Network network;
    network.inputs = {{ValueType::kImages, layer_.in}};
    network.nodes.push_back(std::move(node));
    network.outputs = {1};
    for (int i = 0; beside && i < 2; ++i) {
      NetworkNode pointwise;
      pointwise.op = FindOperator("conv");
      pointwise.inputs = {0};
      pointwise.out_channels = 9 * layer_.out;
      pointwise.weight = buffer(weight_);
      pointwise.bias = buffer(std::vector<float>(static_cast<size_t>(9 * layer_.out)));
      network.nodes.push_back(std::move(pointwise));
    }
    const ImageShape shape{1, layer_.in, layer_.size, layer_.size};
    std::shared_ptr<Engine> engine;
    std::vector<Shape> outputs;
    std::vector<StepReport> steps;
    if (!Engine::Create(std::move(network), options, &engine).ok() || !engine->OutputShapes(ShapesOf(shape), &outputs).ok() ||
        !engine->Explain(ShapesOf(shape), 1, &steps).ok())
      return {};
    for (const StepReport& step : steps) {
      if (kernel != nullptr && step.name == "tried") *kernel = step.kernel;
    }
    std::vector<float> y(static_cast<size_t>(outputs[0].count()));
    const std::span<float> results[] = {y};
    return engine->Run(ShapesOf(shape), InputsOf(x_), results, 1).ok() ? y : std::vector<float>{};
  }

  TriedLayer layer_;
  std::vector<float> weight_, x_, bias_, want_;
  double magnitudes_ = 0;
};

}  // namespace repfuse
