// What a pixel that is not finite may touch: by the direct kernels its taps, by Winograd's its tile, never another image or a later run.
#include "conv_cases.h"
#include "emulated_tiles.h"
#include "isa_levels.h"

namespace repfuse {
namespace {

constexpr float kBad[] = {NAN, INFINITY, -INFINITY};

class NonfiniteTest : public testing::Test {
 protected:
  void TearDown() override { SetIsa(BestIsa()); }
};

// The case, and a dense convolution that reads all that it leaves, channels that do not exist included.
Network Twice(const Case& c, uint32_t seed) {
  Network network = NetworkOf(c, Reckon(c, seed));
  std::mt19937 engine(seed);
  Case next = c;
  next.input.channels = c.out_channels;
  next.out_channels = 1 + static_cast<int64_t>(engine() % 40);
  next.groups = next.stride = next.dilation = 1;
  next.kernel_h = next.kernel_w = 3;
  next.pad_h = next.pad_w = 1;
  next.activation = nullptr;
  const auto weight = RandomFloats(static_cast<size_t>(next.out_channels * c.out_channels * 9), engine);
  const auto bias = RandomFloats(static_cast<size_t>(next.out_channels), engine);
  network.nodes.push_back(ConvNode(next, weight, bias));
  network.nodes.back().inputs = network.outputs;
  network.outputs = {network.outputs[0] + 1};
  return network;
}

TEST_F(NonfiniteTest, DirectKernelsReadTheirTapsOnly) {
  std::mt19937 engine(21);
  int64_t bad = 0, good = 0;
  for (uint32_t seed = 0; seed < 120; ++seed) {
    const Case c = RandomCase(engine, seed % 4 == 0);
    if (ShapeOf(c).out_height() < 1 || ShapeOf(c).out_width() < 1) continue;
    auto x = Reckon(c, seed).x;
    for (int i = 0; i < 1 + static_cast<int>(seed % 3); ++i) x[engine() % x.size()] = kBad[engine() % 3];
    const auto want = RunNetwork(Twice(c, seed), {.algorithm = Algorithm::kFloat64}, c.input, x, 1);
    double peak = 0;
    for (const float v : want) peak = std::max(peak, std::isfinite(v) ? std::abs(static_cast<double>(v)) : 0);
    for (const Isa isa : AvailableIsas()) {
      ASSERT_TRUE(SetIsa(isa));
      const auto got = RunNetwork(Twice(c, seed), {.algorithm = Algorithm::kDirect}, c.input, x, 1 + static_cast<int>(seed % 3));
      ASSERT_EQ(got.size(), want.size());
      for (size_t i = 0; i < got.size(); ++i) {
        if (std::isfinite(want[i]))
          ASSERT_LE(std::abs(got[i] - want[i]), 1e-5 * peak) << IsaName(isa) << ", seed " << seed << ": " << Describe(c);
        else
          ASSERT_TRUE(std::isnan(want[i]) ? std::isnan(got[i]) : got[i] == want[i])
              << got[i] << ", not " << want[i] << ", seed " << seed << ": " << Describe(c);
        (std::isfinite(want[i]) ? good : bad) += 1;
      }
    }
  }
  EXPECT_GT(good, 20000);
  EXPECT_GT(bad, 20000);
}

TEST_F(NonfiniteTest, WinogradReadsItsTile) {
  constexpr int64_t kSize = 19, kChannels = 20;
  const Case c{.input = {2, kChannels, kSize, kSize},
               .out_channels = 36,
               .groups = 1,
               .kernel_h = 3,
               .kernel_w = 3,
               .stride = 1,
               .pad_h = 1,
               .pad_w = 1,
               .dilation = 1,
               .activation = {},
               .residual = false};
  const Reckoned r = Reckon(c, 5);
  for (const Isa isa : AvailableIsas()) {
    ASSERT_TRUE(SetIsa(isa));
    for (const int64_t m : {2, 4}) {
      const EngineOptions options{.algorithm = m == 2 ? Algorithm::kWinograd2 : Algorithm::kWinograd4};
      std::shared_ptr<Engine> made;
      std::vector<StepReport> steps;
      ASSERT_TRUE(Engine::Create(NetworkOf(c, r), options, &made).ok() && made->Explain(ShapesOf(c.input), 1, &steps).ok());
      ASSERT_EQ(steps[1].kernel.rfind("winograd F(" + std::to_string(m), 0), 0u);
      const auto clean = RunNetwork(NetworkOf(c, r), options, c.input, r.x, 1);
      for (const float value : {kBad[0], kBad[1], kBad[2], 3e38f}) {
        for (const auto& [row, column] : {std::pair<int64_t, int64_t>{0, 0}, {kSize - 1, kSize - 1}, {4, 3}, {7, 12}, {9, 16}}) {
          auto x = r.x;
          x[static_cast<size_t>(((kChannels + 3) * kSize + row) * kSize + column)] = value;  // of the second image
          const auto got = RunNetwork(NetworkOf(c, r), options, c.input, x, 2);
          // The tile of output y reads rows floor(y / m) m - 1 to that + m.
          const auto reads = [m](int64_t y, int64_t pixel) { return pixel >= y / m * m - 1 && pixel <= y / m * m + m; };
          for (size_t i = 0; i < got.size(); ++i) {
            const int64_t at = static_cast<int64_t>(i), y = at / kSize % kSize, pixel = at % kSize;
            if (at < static_cast<int64_t>(got.size()) / 2 || !reads(y, row) || !reads(pixel, column))
              ASSERT_EQ(got[i], clean[i]) << y << " " << pixel;
          }
        }
      }
    }
  }
}

// Vectors of many channels, in whose memory a flattened map comes to lie afterwards.
Network Gated() {
  std::mt19937 engine(9);
  Network network;
  network.inputs = {{ValueType::kImages, 3}};
  const auto conv = [&](std::vector<int> inputs, int64_t in, int64_t out, int64_t kernel, int64_t stride, const Activation* activation) {
    const Case c{.input = {1, in, 1, 1},
                 .out_channels = out,
                 .groups = 1,
                 .kernel_h = kernel,
                 .kernel_w = kernel,
                 .stride = stride,
                 .pad_h = kernel / 2,
                 .pad_w = kernel / 2,
                 .dilation = 1,
                 .activation = activation,
                 .residual = false};
    network.nodes.push_back(
        ConvNode(c, RandomFloats(static_cast<size_t>(in * out * kernel * kernel), engine), RandomFloats(static_cast<size_t>(out), engine)));
    network.nodes.back().inputs = std::move(inputs);
    return static_cast<int>(network.nodes.size());
  };
  const auto other = [&](const char* op, std::vector<int> inputs) {
    NetworkNode node;
    node.op = FindOperator(op);
    node.inputs = std::move(inputs);
    network.nodes.push_back(std::move(node));
    return static_cast<int>(network.nodes.size());
  };
  const int map = conv({0}, 3, 20, 3, 2, FindActivation("relu"));
  const int wide = conv({other("globalAveragePool", {map})}, 20, 192, 1, 1, FindActivation("silu"));
  const int gate = conv({wide}, 192, 20, 1, 1, FindActivation("sigmoid"));
  const int flat = other("flatten", {other("gate", {map, gate})});
  network.nodes.back().ints = {1};
  const int classes = conv({flat}, 180, 10, 1, 1, FindActivation("hardswish"));
  network.nodes.back().op = FindOperator("linear");
  network.outputs = {other("softmax", {classes})};
  return network;
}

TEST_F(NonfiniteTest, NothingIsLeftForALaterRunNorForAnotherImage) {
  std::vector<const KernelTable*> tables{&EmulatedAmxTable()};
  for (const Isa isa : AvailableIsas()) {
    ASSERT_TRUE(SetIsa(isa));
    tables.push_back(&Kernels());
  }
  std::mt19937 engine(31);
  std::vector<std::pair<Case, uint32_t>> cases;
  for (uint32_t seed = 0; cases.size() < 12; ++seed) {
    Case c = RandomCase(engine, seed % 2 == 0);
    c.input.batch = 2;
    if (ShapeOf(c).out_height() > 0 && ShapeOf(c).out_width() > 0) cases.emplace_back(c, seed);
  }
  const auto check = [&](const auto& network, const ImageShape& input, const std::string& about) {
    const std::vector<float> clean = RandomFloats(static_cast<size_t>(input.batch * input.channels * input.height * input.width), engine);
    for (const KernelTable* table : tables) {
      SetKernels(*table);
      for (const Algorithm algorithm : {Algorithm::kAuto, Algorithm::kDirect, Algorithm::kWinograd2, Algorithm::kWinograd42,
                                        Algorithm::kWinograd4, Algorithm::kProducts, Algorithm::kFloat64}) {
        for (const Precision precision : {Precision::kF32, Precision::kFast, Precision::kBf16}) {
          if (precision != Precision::kF32 && algorithm != Algorithm::kAuto && algorithm != Algorithm::kProducts) continue;
          std::shared_ptr<Engine> made;
          std::vector<Shape> outputs;
          ASSERT_TRUE(Engine::Create(network(), {.algorithm = algorithm, .precision = precision}, &made).ok());
          ASSERT_TRUE(made->OutputShapes(ShapesOf(input), &outputs).ok()) << about;
          const auto run = [&](const std::vector<float>& x) {
            std::vector<float> y(static_cast<size_t>(outputs[0].count()));
            const std::span<float> results[] = {y};
            EXPECT_TRUE(made->Run(ShapesOf(input), InputsOf(x), results, 1).ok());
            return y;
          };
          const auto want = run(clean);
          for (const float bad : kBad) {
            auto x = clean;
            std::fill(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(x.size() / 2), bad);  // the first image
            const auto beside = run(x);
            const size_t half = want.size() / 2;
            ASSERT_EQ(std::memcmp(beside.data() + half, want.data() + half, half * sizeof(float)), 0)
                << about << ", algorithm " << static_cast<int>(algorithm);
            (void)run(std::vector<float>(x.size(), bad));
            const auto after = run(clean);
            ASSERT_EQ(std::memcmp(after.data(), want.data(), want.size() * sizeof(float)), 0)
                << about << ", algorithm " << static_cast<int>(algorithm);
          }
        }
      }
    }
  };
  for (const auto& [c, seed] : cases) {
    check([&c = c, seed = seed] { return Twice(c, seed); }, c.input, Describe(c));
    if (HasFatalFailure()) return;
  }
  check(Gated, {2, 3, 6, 6}, "gated");
}

}  // namespace
}  // namespace repfuse
