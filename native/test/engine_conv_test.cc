// Every algorithm of the engine's convolution against float64: seeded cases over sizes, channels, strides, paddings, dilations, groups and
// batches, and every small size of map.
#include <gtest/gtest.h>

#include "conv_cases.h"
#include "isa_levels.h"

namespace repfuse {
namespace {

// The engine's largest error.
double ErrorOf(const Case& c, const Reckoned& r, Algorithm algorithm, int threads) {
  const auto y = RunNetwork(NetworkOf(c, r), {.algorithm = algorithm}, c.input, r.x, threads);
  if (y.size() != r.want.size()) return INFINITY;
  double error = 0;
  for (size_t i = 0; i < y.size(); ++i) error = std::max(error, std::isnan(y[i]) ? INFINITY : std::abs(y[i] - r.want[i]));
  return error;
}

// What docs/precision.md says of typical data, of the peak.
constexpr double kTypical = 3e-6;

// Every level and each of the algorithms, at the precision that the engine promises.
void ExpectPrecise(const Case& c, std::initializer_list<Algorithm> algorithms, uint32_t seed) {
  const Reckoned reckoned = Reckon(c, seed);
  for (const Isa isa : AvailableIsas()) {
    ASSERT_TRUE(SetIsa(isa));
    for (const Algorithm algorithm : algorithms) {
      const double error = ErrorOf(c, reckoned, algorithm, 1 + static_cast<int>(seed % 3));
      ASSERT_LE(error / reckoned.peak, std::max(kTypical, 2 * reckoned.plain_error / reckoned.peak))
          << IsaName(isa) << ", algorithm " << static_cast<int>(algorithm) << ", seed " << seed << ": " << Describe(c);
    }
  }
  SetIsa(BestIsa());
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
  pointwise.activation = FindActivation("relu");
  Network network;
  network.inputs = {{ValueType::kImages, channels}};
  const size_t taps = static_cast<size_t>(depthwise.kernel_h * depthwise.kernel_w);
  const auto filter = RandomFloats(static_cast<size_t>(channels) * taps, engine),
             filter_bias = RandomFloats(static_cast<size_t>(channels), engine);
  network.nodes.push_back(ConvNode(depthwise, filter, filter_bias));
  const auto weight = RandomFloats(static_cast<size_t>(out_channels * channels), engine),
             bias = RandomFloats(static_cast<size_t>(out_channels), engine);
  network.nodes.push_back(ConvNode(pointwise, weight, bias));
  network.nodes.back().inputs = residual ? std::vector<int>{1, 0} : std::vector<int>{1};
  network.outputs = {2};
  if (!apart) return network;
  NetworkNode reader;
  reader.op = FindOperator("activation");
  reader.name = "reader";
  reader.activation = FindActivation("relu");
  reader.inputs = {1};
  network.nodes.push_back(std::move(reader));
  return network;
}

// Where matrix tiles multiply terms, what is not direct is two steps.
const EngineOptions kAsOneStep{.algorithm = Algorithm::kDirect};

size_t StepsOf(Network network, const ImageShape& input, int threads) {
  std::shared_ptr<Engine> engine;
  std::vector<StepReport> steps;
  EXPECT_TRUE(Engine::Create(std::move(network), kAsOneStep, &engine).ok());
  EXPECT_TRUE(engine->Explain(ShapesOf(input), threads, &steps).ok());
  return steps.size();
}

TEST(EngineConvTest, DepthwiseWithThePointwiseAfterItGivesTheSameBitsAsOneStepAndAsTwo) {
  std::mt19937 engine(1);
  const auto pick = [&](std::initializer_list<int64_t> values) { return *(values.begin() + engine() % values.size()); };
  for (uint32_t seed = 0; seed < 300; ++seed) {
    const int64_t k = pick({1, 3, 5, 7, 9}), channels = 2 + static_cast<int64_t>(engine() % 47);
    Case c{.input =
               {
                   pick({1, 2}),
                   channels,
                   pick({4, 7, 14, 20}),
                   pick({4, 9, 14, 23}),
               },
           .out_channels = channels,
           .groups = channels,
           .kernel_h = k,
           .kernel_w = k,
           .stride = pick({1, 1, 2}),
           .pad_h = 0,
           .pad_w = 0,
           .dilation = pick({1, 1, 2}),
           .activation = {},
           .residual = false};
    c.pad_h = c.pad_w = k / 2 * c.dilation;
    if (engine() % 2 == 0) c.activation = engine() % 2 == 0 ? FindActivation("relu") : FindActivation("hardswish");
    const bool residual = c.stride == 1 && engine() % 2 == 0;
    const int64_t out_channels = residual ? channels : 8 + static_cast<int64_t>(engine() % 63);
    const auto x = RandomFloats(static_cast<size_t>(c.input.batch * channels * c.input.height * c.input.width), engine);
    const int threads = 1 + static_cast<int>(seed % 3);
    for (const Isa isa : AvailableIsas()) {
      ASSERT_TRUE(SetIsa(isa));
      ASSERT_EQ(StepsOf(Separable(c, out_channels, residual, false, seed), c.input, threads), 3u) << Describe(c);
      ASSERT_EQ(StepsOf(Separable(c, out_channels, residual, true, seed), c.input, threads), 5u) << Describe(c);
      ASSERT_EQ(RunNetwork(Separable(c, out_channels, residual, false, seed), kAsOneStep, c.input, x, threads),
                RunNetwork(Separable(c, out_channels, residual, true, seed), kAsOneStep, c.input, x, 1))
          << IsaName(isa) << " " << Describe(c) << out_channels;
    }
  }
  ASSERT_TRUE(SetIsa(BestIsa()));
}

// A pointwise convolution, a depthwise one, and a pointwise one (with a residual, where sizes allow it) that only `project` asks for.
Network InvertedResidual(const Case& depthwise, int64_t in_channels, bool project, uint32_t seed) {
  std::mt19937 engine(seed);
  Network network;
  network.inputs = {{ValueType::kImages, in_channels}};
  const int64_t channels = depthwise.input.channels;
  Case pointwise{.input = depthwise.input,
                 .out_channels = channels,
                 .groups = 1,
                 .kernel_h = 1,
                 .kernel_w = 1,
                 .stride = 1,
                 .pad_h = 0,
                 .pad_w = 0,
                 .dilation = 1,
                 .activation = depthwise.activation,
                 .residual = false};
  const auto add = [&](const Case& c, int64_t weights) {
    network.nodes.push_back(
        ConvNode(c, RandomFloats(static_cast<size_t>(weights), engine), RandomFloats(static_cast<size_t>(c.out_channels), engine)));
    network.nodes.back().inputs = {static_cast<int>(network.nodes.size()) - 1};
    network.outputs = {static_cast<int>(network.nodes.size())};
  };
  pointwise.input.channels = in_channels;
  add(pointwise, channels * in_channels);
  add(depthwise, channels * depthwise.kernel_h * depthwise.kernel_w);
  if (!project) return network;
  pointwise.input.channels = channels;
  pointwise.out_channels = in_channels;
  pointwise.activation = {};
  add(pointwise, channels * in_channels);
  if (depthwise.stride == 1) network.nodes.back().inputs = {2, 0};
  return network;
}

// Cut by channels and by rows, with rings that wrap: all that a step of three may be.
TEST(EngineConvTest, InvertedResidualsGiveTheSameBitsAsOneStepAndAsThree) {
  std::mt19937 engine(2);
  const auto pick = [&](std::initializer_list<int64_t> values) { return *(values.begin() + engine() % values.size()); };
  bool by_rows[2] = {};
  for (uint32_t seed = 0; seed < 200; ++seed) {
    const bool large = seed % 10 == 0;  // than what is cut by channels
    const int64_t k = pick({1, 3, 3, 5, 5, 7}), channels = large ? pick({24, 33}) : pick({5, 16, 17, 24, 49, 72, 130});
    Case c{.input = {pick({1, 2}), channels, large ? 129 : pick({1, 7, 13, 14, 30}), large ? 120 : pick({7, 9, 13, 28})},
           .out_channels = channels,
           .groups = channels,
           .kernel_h = k,
           .kernel_w = pick({k, k, 3}),
           .stride = pick({1, 1, 2, 3}),
           .pad_h = 0,
           .pad_w = 0,
           .dilation = pick({1, 1, 2}),
           .activation = {},
           .residual = false};
    c.pad_h = k / 2 * c.dilation;
    c.pad_w = c.kernel_w / 2 * c.dilation;
    if (engine() % 2 == 0) c.activation = engine() % 2 == 0 ? FindActivation("relu") : FindActivation("hardswish");
    const int64_t in_channels = pick({9, 16, 24, 40});
    const bool project = engine() % 4 != 0;
    const auto x = RandomFloats(static_cast<size_t>(c.input.batch * in_channels * c.input.height * c.input.width), engine);
    const int threads = 1 + static_cast<int>(seed % 3);
    ImageShape input = c.input;
    input.channels = in_channels;
    for (const Isa isa : AvailableIsas()) {
      ASSERT_TRUE(SetIsa(isa));
      const size_t steps = StepsOf(InvertedResidual(c, in_channels, project, seed), input, threads);
      ASSERT_LT(steps, project ? 5u : 4u) << Describe(c);
      if (project) by_rows[steps == 3] = true;
      EngineOptions apart = kAsOneStep;
      apart.merge = false;
      ASSERT_EQ(RunNetwork(InvertedResidual(c, in_channels, project, seed), kAsOneStep, input, x, threads),
                RunNetwork(InvertedResidual(c, in_channels, project, seed), apart, input, x, 1))
          << IsaName(isa) << " " << Describe(c) << " from " << in_channels << ", " << threads << " threads";
    }
  }
  ASSERT_TRUE(by_rows[0] && by_rows[1]);
  ASSERT_TRUE(SetIsa(BestIsa()));
}

TEST(EngineConvTest, TwoThousandSeededCases) { ExpectPreciseCases(false, {Algorithm::kAuto, Algorithm::kDirect}); }
TEST(EngineConvTest, TwoThousandSeededCasesOfWinograd) {
  ExpectPreciseCases(true, {Algorithm::kWinograd2, Algorithm::kWinograd42, Algorithm::kWinograd4});
}

TEST(EngineConvTest, EverySmallMap) {
  const std::pair<int64_t, int64_t> channels[] = {{3, 16}, {17, 33}, {16, 64}};
  for (const auto& [in, out] : channels) {
    for (int64_t height = 1; height <= 20; ++height) {
      for (int64_t width = 1; width <= 20; ++width) {
        Case c{.input = {1, in, height, width},
               .out_channels = out,
               .groups = 1,
               .kernel_h = 3,
               .kernel_w = 3,
               .stride = 1,
               .pad_h = 1,
               .pad_w = 1,
               .dilation = 1,
               .activation = FindActivation("relu"),
               .residual = false};
        const uint32_t seed = static_cast<uint32_t>(height * 20 + width);
        ExpectPrecise(c, {Algorithm::kAuto, Algorithm::kDirect, Algorithm::kWinograd2, Algorithm::kWinograd42, Algorithm::kWinograd4},
                      seed);
        c.stride = 2;
        ExpectPrecise(c, {Algorithm::kAuto}, seed);
        if (HasFatalFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace repfuse
