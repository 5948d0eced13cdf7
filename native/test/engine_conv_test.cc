// Every algorithm of the engine's convolution against float64: seeded cases over sizes, channels, strides, paddings, dilations, groups and
// batches, and every small size of map.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "isa_levels.h"
#include "network_support.h"
#include "repfuse/conv.h"
#include "repfuse/engine.h"

namespace repfuse {
namespace {

struct Case {
  ImageShape input;
  int64_t out_channels, groups, kernel_h, kernel_w, stride, pad_h, pad_w, dilation;
  std::optional<Activation> activation;
  bool residual;
};

double Activated(const std::optional<Activation>& activation, double v) {
  if (!activation) return v;
  switch (*activation) {
    case Activation::kRelu: return std::max(v, 0.0);
    case Activation::kSigmoid: return 1 / (1 + std::exp(-v));
    case Activation::kSilu: return v / (1 + std::exp(-v));
    case Activation::kHardswish: return v * std::clamp(v + 3, 0.0, 6.0) / 6;
  }
  return v;
}

// The plain definition, in Real.
template <typename Real>
std::vector<double> Reference(const Case& c, const ConvShape& shape, const std::vector<float>& x, const std::vector<float>& weight, const std::vector<float>& bias) {
  const int64_t in_per_group = shape.in_channels / shape.groups, out_per_group = shape.out_channels / shape.groups, oh = shape.out_height(), ow = shape.out_width();
  std::vector<double> y(static_cast<size_t>(shape.batch * shape.out_channels * oh * ow));
  size_t at = 0;
  for (int64_t n = 0; n < shape.batch; ++n) {
    for (int64_t o = 0; o < shape.out_channels; ++o) {
      for (int64_t i = 0; i < oh; ++i) {
        for (int64_t j = 0; j < ow; ++j, ++at) {
          Real sum = bias[static_cast<size_t>(o)];
          for (int64_t k = 0; k < in_per_group; ++k) {
            const int64_t channel = o / out_per_group * in_per_group + k;
            for (int64_t a = 0; a < shape.kernel_h; ++a) {
              for (int64_t b = 0; b < shape.kernel_w; ++b) {
                const int64_t row = i * shape.stride_h - shape.pad_top + a * shape.dilation_h, column = j * shape.stride_w - shape.pad_left + b * shape.dilation_w;
                if (row < 0 || column < 0 || row >= shape.height || column >= shape.width) continue;
                sum += static_cast<Real>(x[static_cast<size_t>(((n * shape.in_channels + channel) * shape.height + row) * shape.width + column)]) *
                       static_cast<Real>(weight[static_cast<size_t>(((o * in_per_group + k) * shape.kernel_h + a) * shape.kernel_w + b)]);
              }
            }
          }
          y[at] = c.activation && !c.residual ? Activated(c.activation, static_cast<double>(sum)) : static_cast<double>(sum);
        }
      }
    }
  }
  return y;
}

ConvShape ShapeOf(const Case& c) {
  return {.batch = c.input.batch, .in_channels = c.input.channels, .height = c.input.height, .width = c.input.width, .out_channels = c.out_channels,
          .kernel_h = c.kernel_h, .kernel_w = c.kernel_w, .stride_h = c.stride, .stride_w = c.stride, .pad_top = c.pad_h, .pad_left = c.pad_w,
          .pad_bottom = c.pad_h, .pad_right = c.pad_w, .dilation_h = c.dilation, .dilation_w = c.dilation, .groups = c.groups};
}

NetworkNode ConvNode(const Case& c, const std::vector<float>& weight, const std::vector<float>& bias) {
  NetworkNode node;
  node.kind = NodeKind::kConv;
  node.name = "conv";
  node.inputs = {0};
  node.activation = c.activation;
  node.weight = BufferOf(weight);
  node.bias = BufferOf(bias);
  node.out_channels = c.out_channels;
  node.groups = c.groups;
  node.kernel_h = c.kernel_h;
  node.kernel_w = c.kernel_w;
  node.stride_h = node.stride_w = c.stride;
  node.dilation_h = node.dilation_w = c.dilation;
  node.pad_top = node.pad_bottom = c.pad_h;
  node.pad_left = node.pad_right = c.pad_w;
  return node;
}

struct Errors {
  double ours = 0, plain = 0;  // largest, relative to the peak
};

// A case with its data and what the definition makes of them.
struct Reckoned {
  std::vector<float> x, weight, bias;
  std::vector<double> want;
  double peak = 0, plain_error = 0;  // of a float32 sum in the order of the definition
};

Reckoned Reckon(const Case& c, uint32_t seed) {
  std::mt19937 engine(seed);
  Reckoned r;
  r.x = RandomFloats(static_cast<size_t>(c.input.batch * c.input.channels * c.input.height * c.input.width), engine);
  r.weight = RandomFloats(static_cast<size_t>(c.out_channels * (c.input.channels / c.groups) * c.kernel_h * c.kernel_w), engine);
  // Outputs of about 1, where activations bend.
  for (float& w : r.weight) w /= std::sqrt(static_cast<float>(c.input.channels / c.groups * c.kernel_h * c.kernel_w));
  r.bias = RandomFloats(static_cast<size_t>(c.out_channels), engine);
  const ConvShape shape = ShapeOf(c);
  r.want = Reference<double>(c, shape, r.x, r.weight, r.bias);
  auto plain = Reference<float>(c, shape, r.x, r.weight, r.bias);
  if (c.residual) {
    for (double& v : r.want) v = Activated(c.activation, v + v);
    for (double& v : plain) v = Activated(c.activation, v + v);
  }
  for (size_t i = 0; i < plain.size(); ++i) {
    r.peak = std::max(r.peak, std::abs(r.want[i]));
    r.plain_error = std::max(r.plain_error, std::abs(plain[i] - r.want[i]));
  }
  if (r.peak == 0) r.peak = 1;  // a ReLU left nothing
  return r;
}

// The engine's largest error. With `residual`: activation(conv(x) + conv(x)), the second sum entering the first convolution.
double ErrorOf(const Case& c, const Reckoned& r, Algorithm algorithm, int threads) {
  Network network;
  network.in_channels = c.input.channels;
  if (c.residual) {
    Case plain = c;
    plain.activation.reset();
    network.nodes.push_back(ConvNode(plain, r.weight, r.bias));
    network.nodes.push_back(ConvNode(c, r.weight, r.bias));
    network.nodes.back().inputs = {0, 1};
    network.output = 2;
  } else {
    network.nodes.push_back(ConvNode(c, r.weight, r.bias));
    network.output = 1;
  }
  const auto y = RunNetwork(std::move(network), {.algorithm = algorithm}, c.input, r.x, threads);
  if (y.size() != r.want.size()) return INFINITY;
  double error = 0;
  for (size_t i = 0; i < y.size(); ++i) error = std::max(error, std::isnan(y[i]) ? INFINITY : std::abs(y[i] - r.want[i]));
  return error;
}

std::string Describe(const Case& c) {
  std::string text;
  for (const int64_t v : {c.input.batch, c.input.channels, c.input.height, c.input.width, c.out_channels, c.groups, c.kernel_h, c.kernel_w, c.stride, c.pad_h, c.pad_w, c.dilation}) {
    text += std::to_string(v) + " ";
  }
  return text + (c.residual ? "residual" : "");
}

// Every level and each of the algorithms, at the precision that the engine promises.
void ExpectPrecise(const Case& c, std::initializer_list<Algorithm> algorithms, uint32_t seed) {
  const Reckoned reckoned = Reckon(c, seed);
  for (const Isa isa : AvailableIsas()) {
    ASSERT_TRUE(SetIsa(isa));
    for (const Algorithm algorithm : algorithms) {
      const double error = ErrorOf(c, reckoned, algorithm, 1 + static_cast<int>(seed % 3));
      ASSERT_LE(error / reckoned.peak, std::max(2e-6, 2 * reckoned.plain_error / reckoned.peak))
          << IsaName(isa) << ", algorithm " << static_cast<int>(algorithm) << ", seed " << seed << ": " << Describe(c);
    }
  }
  SetIsa(BestIsa());
}

// A case of any kind; with `winograd` a 3x3 kernel of stride 1.
Case RandomCase(std::mt19937& engine, bool winograd) {
  const auto pick = [&](std::initializer_list<int64_t> values) { return values.begin()[engine() % values.size()]; };
  const std::optional<Activation> activations[] = {std::nullopt, Activation::kRelu, Activation::kSilu, Activation::kHardswish, Activation::kSigmoid};
  Case c{.input = {pick({1, 1, 2, 3}), 1 + static_cast<int64_t>(engine() % 40), 1 + static_cast<int64_t>(engine() % 16), 1 + static_cast<int64_t>(engine() % 16)},
         .out_channels = 1 + static_cast<int64_t>(engine() % 40), .groups = 1, .kernel_h = pick({1, 3, 3, 5, 2}), .kernel_w = pick({1, 3, 3, 4, 7}),
         .stride = pick({1, 1, 2, 3}), .pad_h = pick({0, 1, 1, 2, 3}), .pad_w = pick({0, 1, 1, 2, 3}), .dilation = pick({1, 1, 1, 2}),
         .activation = activations[engine() % 5], .residual = engine() % 4 == 0};
  switch (engine() % 4) {  // groups: none, depthwise, some that cross blocks, some that do not
    case 1: c.groups = c.out_channels = c.input.channels; break;
    case 2: {
      const int64_t groups = pick({2, 3, 4});
      c.input.channels = (c.input.channels + groups - 1) / groups * groups;
      c.out_channels = (c.out_channels + groups - 1) / groups * groups;
      c.groups = groups;
      break;
    }
    case 3:
      c.groups = 2;
      c.input.channels = c.out_channels = pick({32, 64});
      break;
    default: break;
  }
  if (winograd) {
    c.kernel_h = c.kernel_w = 3;
    c.stride = c.dilation = 1;
  }
  return c;
}

constexpr int kCases = 2000;

void ExpectPreciseCases(bool winograd, std::initializer_list<Algorithm> algorithms) {
  std::mt19937 engine(7);
  int run = 0;
  for (uint32_t seed = 0; run < kCases && !testing::Test::HasFatalFailure(); ++seed) {
    const Case c = RandomCase(engine, winograd);
    if (ShapeOf(c).out_height() < 1 || ShapeOf(c).out_width() < 1) continue;
    ++run;
    ExpectPrecise(c, algorithms, seed);
  }
}

// A depthwise convolution, the pointwise one that reads it, and perhaps another reader of what lies between: then they cannot be one step.
Network Separable(const Case& depthwise, int64_t out_channels, bool residual, bool apart, uint32_t seed) {
  std::mt19937 engine(seed);
  const int64_t channels = depthwise.input.channels;
  Case pointwise = depthwise;
  pointwise.groups = pointwise.kernel_h = pointwise.kernel_w = pointwise.stride = pointwise.dilation = 1;
  pointwise.pad_h = pointwise.pad_w = 0;
  pointwise.out_channels = out_channels;
  pointwise.activation = Activation::kRelu;
  Network network;
  network.in_channels = channels;
  const size_t taps = static_cast<size_t>(depthwise.kernel_h * depthwise.kernel_w);
  const auto filter = RandomFloats(static_cast<size_t>(channels) * taps, engine), filter_bias = RandomFloats(static_cast<size_t>(channels), engine);
  network.nodes.push_back(ConvNode(depthwise, filter, filter_bias));
  const auto weight = RandomFloats(static_cast<size_t>(out_channels * channels), engine), bias = RandomFloats(static_cast<size_t>(out_channels), engine);
  network.nodes.push_back(ConvNode(pointwise, weight, bias));
  network.nodes.back().inputs = residual ? std::vector<int>{1, 0} : std::vector<int>{1};
  network.output = 2;
  if (!apart) return network;
  NetworkNode reader;
  reader.kind = NodeKind::kActivation;
  reader.name = "reader";
  reader.activation = Activation::kRelu;
  reader.inputs = {1};
  network.nodes.push_back(std::move(reader));
  return network;
}

size_t StepsOf(Network network, const ImageShape& input, int threads) {
  std::shared_ptr<Engine> engine;
  std::vector<StepReport> steps;
  EXPECT_TRUE(Engine::Create(std::move(network), {}, &engine).ok());
  EXPECT_TRUE(engine->Explain(input, threads, &steps).ok());
  return steps.size();
}

TEST(EngineConvTest, DepthwiseWithThePointwiseAfterItGivesTheSameBitsAsOneStepAndAsTwo) {
  std::mt19937 engine(1);
  const auto pick = [&](std::initializer_list<int64_t> values) { return *(values.begin() + engine() % values.size()); };
  for (uint32_t seed = 0; seed < 300; ++seed) {
    const int64_t k = pick({1, 3, 5, 7, 9}), channels = 2 + static_cast<int64_t>(engine() % 47);
    Case c{.input = {pick({1, 2}), channels, pick({4, 7, 14, 20}), pick({4, 9, 14, 23}), }, .out_channels = channels, .groups = channels, .kernel_h = k, .kernel_w = k,
           .stride = pick({1, 1, 2}), .pad_h = 0, .pad_w = 0, .dilation = pick({1, 1, 2}), .activation = {}, .residual = false};
    c.pad_h = c.pad_w = k / 2 * c.dilation;
    if (engine() % 2 == 0) c.activation = engine() % 2 == 0 ? Activation::kRelu : Activation::kHardswish;
    const bool residual = c.stride == 1 && engine() % 2 == 0;
    const int64_t out_channels = residual ? channels : 1 + static_cast<int64_t>(engine() % 70);
    const auto x = RandomFloats(static_cast<size_t>(c.input.batch * channels * c.input.height * c.input.width), engine);
    const int threads = 1 + static_cast<int>(seed % 3);
    for (const Isa isa : AvailableIsas()) {
      ASSERT_TRUE(SetIsa(isa));
      ASSERT_EQ(StepsOf(Separable(c, out_channels, residual, false, seed), c.input, threads), 3u) << Describe(c);
      ASSERT_EQ(StepsOf(Separable(c, out_channels, residual, true, seed), c.input, threads), 5u) << Describe(c);
      ASSERT_EQ(RunNetwork(Separable(c, out_channels, residual, false, seed), {}, c.input, x, threads),
                RunNetwork(Separable(c, out_channels, residual, true, seed), {}, c.input, x, 1))
          << IsaName(isa) << " " << Describe(c) << out_channels;
    }
  }
  ASSERT_TRUE(SetIsa(BestIsa()));
}

TEST(EngineConvTest, TwoThousandSeededCases) { ExpectPreciseCases(false, {Algorithm::kAuto, Algorithm::kDirect}); }
TEST(EngineConvTest, TwoThousandSeededCasesOfWinograd) { ExpectPreciseCases(true, {Algorithm::kWinograd2, Algorithm::kWinograd4}); }

TEST(EngineConvTest, EverySmallMap) {
  const std::pair<int64_t, int64_t> channels[] = {{3, 16}, {17, 33}, {16, 64}};
  for (const auto& [in, out] : channels) {
    for (int64_t height = 1; height <= 20; ++height) {
      for (int64_t width = 1; width <= 20; ++width) {
        Case c{.input = {1, in, height, width}, .out_channels = out, .groups = 1, .kernel_h = 3, .kernel_w = 3, .stride = 1, .pad_h = 1, .pad_w = 1, .dilation = 1,
               .activation = Activation::kRelu, .residual = false};
        const uint32_t seed = static_cast<uint32_t>(height * 20 + width);
        ExpectPrecise(c, {Algorithm::kAuto, Algorithm::kDirect, Algorithm::kWinograd2, Algorithm::kWinograd4}, seed);
        c.stride = 2;
        ExpectPrecise(c, {Algorithm::kAuto}, seed);
        if (HasFatalFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace repfuse
