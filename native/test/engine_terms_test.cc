// Products of bf16 terms: the kernels bit for bit, convolutions by them against float64, and what each precision promises. The processor's
// matrix tiles where it has them, emulated ones everywhere.
#include <gtest/gtest.h>

#include <cstring>

#include "../src/kernels/half/half.h"
#include "../src/kernels/terms/terms.h"
#include "../src/kernels/tiles/matrix_tile.h"
#include "conv_cases.h"
#include "emulated_tiles.h"
#include "isa_levels.h"

namespace repfuse {
namespace {

constexpr Precision kPrecisions[] = {Precision::kF32, Precision::kFast, Precision::kBf16};

// The levels that multiply bf16, and the emulated one.
std::vector<const KernelTable*> Tables() {
  std::vector<const KernelTable*> tables{&EmulatedAmxTable()};
  for (const Isa isa : AvailableIsas()) {
    EXPECT_TRUE(SetIsa(isa));
    if (Kernels().products.terms > 0) tables.push_back(&Kernels());
  }
  return tables;
}
const char* NameOf(const KernelTable& table) { return &table == &EmulatedAmxTable() ? "emulated amx" : IsaName(table.isa); }

class EngineTermsTest : public testing::Test {
 protected:
  void TearDown() override { SetIsa(BestIsa()); }
};

std::vector<std::string> KernelsOf(Network network, const EngineOptions& options, const ImageShape& input, int threads = 1) {
  std::shared_ptr<Engine> engine;
  std::vector<StepReport> steps;
  EXPECT_TRUE(Engine::Create(std::move(network), options, &engine).ok());
  EXPECT_TRUE(engine->Explain(ShapesOf(input), threads, &steps).ok());
  std::vector<std::string> names;
  for (const StepReport& step : steps) names.push_back(step.kernel);
  return names;
}

TEST_F(EngineTermsTest, ThreeTermsAreTheValueAndFewerAreItsFirst) {
  std::mt19937 engine(3);
  std::vector<float> values = RandomFloats(16 * 37, engine);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::ldexp(values[i], static_cast<int>(i % 160) - 80);
  values[5] = 0;
  values[6] = -0.0f;
  values[7] = INFINITY;
  values[8] = NAN;
  std::vector<void (*)(const TermRow&, int)> kernels{SplitRowScalar};
  if (IsaSupported(Isa::kAvx512)) kernels.push_back(SplitRowAvx512);
  for (const auto kernel : kernels) {
    std::vector<uint16_t> terms(3 * 37 * 32);
    kernel({values.data(), 37, terms.data(), 32, 37 * 32}, 3);
    for (size_t i = 0; i < values.size(); ++i) {
      const size_t at = i / 16 * 32 + i % 16;
      EXPECT_EQ(terms[at], FloatToBf16(values[i]));
      if (!std::isfinite(values[i])) continue;
      const float two = Bf16ToFloat(terms[at]) + Bf16ToFloat(terms[at + 37 * 32]);
      EXPECT_LE(std::abs(values[i] - two), std::abs(values[i]) * 0x1p-17f);
      EXPECT_EQ(two + Bf16ToFloat(terms[at + 2 * 37 * 32]), values[i]);
    }
  }
}

TEST_F(EngineTermsTest, PlanesAreInterleavedAlikeOnEveryLevel) {
  if (!IsaSupported(Isa::kAvx512)) GTEST_SKIP() << "needs avx512";
  std::mt19937 engine(4);
  for (int64_t pixels = 1; pixels < 40; ++pixels) {
    for (size_t channels = 1; channels <= 4; ++channels) {
      const auto x = RandomFloats(channels * static_cast<size_t>(pixels), engine);
      const size_t term = static_cast<size_t>(pixels) * 4 + 8;
      std::vector<uint16_t> want(3 * term, 7), got = want;
      TermPlanes row{{}, pixels, want.data(), static_cast<int64_t>(term)};
      for (size_t c = 0; c < channels; ++c) row.planes[c] = x.data() + c * static_cast<size_t>(pixels);
      SplitPlanesScalar(row, 3);
      row.y = got.data();
      SplitPlanesAvx512(row, 3);
      ASSERT_EQ(want, got) << pixels << " pixels of " << channels;
    }
  }
}

// Every shape of the loop, at the level that is real and the emulated one.
TEST_F(EngineTermsTest, TheProcessorsTilesGiveTheBitsOfEmulatedOnes) {
  if (!IsaSupported(Isa::kAmx)) GTEST_SKIP() << "needs amx";
  std::mt19937 engine(5);
  const auto half = [&](size_t count) {
    std::vector<uint16_t> values(count);
    for (uint16_t& v : values) v = FloatToBf16(std::ldexp(RandomFloats(1, engine)[0], static_cast<int>(engine() % 8)));
    return values;
  };
  const std::vector<uint16_t> x = half(3 * 4096), weight = half(3 * 3 * 16 * 2 * 32);
  const std::vector<float> bias = RandomFloats(32, engine), before = RandomFloats(4 * kMatrixSums, engine);
  const int64_t steps[] = {0, 64, 640};
  for (const int pixels : {1, 7, 14, 16}) {
    for (const int pairs : {2, 8, 16}) {
      for (int form = 0; form < 24; ++form) {
        const int rows = 1 + form % 2, blocks = 1 + form / 2 % 2, terms = 1 + form / 4 % 3;
        std::vector<float> sums[2] = {before, before};
        for (int real = 0; real < 2; ++real) {
          const TileKernels kernels =
              real == 0 ? EmulatedAmxTable().products.tiles : TileKernels{"", ConfigureTilesAmx, RunMatrixTileAmx, ReleaseTilesAmx};
          const MatrixTile tile{.x = {x.data(), x.data() + 32},
                                .x_term = 4096,
                                .pixel = 64,
                                .steps = steps,
                                .step_count = 3,
                                .weight = weight.data(),
                                .weight_term = pairs * blocks * 32,
                                .sums = sums[real].data(),
                                .bias = form < 12 ? bias.data() : nullptr,
                                .prefetch = nullptr,
                                .prefetch_lines = 0};
          kernels.configure(pixels, pairs);
          kernels.run(tile, rows, blocks, terms);
          kernels.release();
        }
        ASSERT_EQ(std::memcmp(sums[0].data(), sums[1].data(), sums[0].size() * sizeof(float)), 0) << pixels << " " << pairs << " " << form;
      }
    }
  }
}

// What the terms that are left out, and the products, may amount to in units of the sum of the products' magnitudes.
double TermError(int terms) { return terms == 1 ? 0x1.02p-8 : terms == 2 ? 0x1.9p-17 : 0x1p-24; }

TEST_F(EngineTermsTest, SeededCasesWithinWhatTheTermsLeaveOut) {
  std::mt19937 engine(11);
  int multiplied = 0;
  for (uint32_t seed = 0; seed < 1000; ++seed) {
    Case c = RandomCase(engine, seed % 4 == 0);
    if (ShapeOf(c).out_height() < 1 || ShapeOf(c).out_width() < 1) continue;
    if (seed % 5 == 0) c.input.width += 17;  // several tiles of a row
    const Reckoned r = Reckon(c, seed);
    Reckoned magnitudes = r;
    for (auto* values : {&magnitudes.x, &magnitudes.weight, &magnitudes.bias}) {
      for (float& v : *values) v = std::abs(v);
    }
    Case plain = c;
    plain.activation = nullptr;
    const auto most = Reference<double>(plain, ShapeOf(c), magnitudes.x, magnitudes.weight, magnitudes.bias);
    for (const KernelTable* table : Tables()) {
      SetKernels(*table);
      for (const Precision precision : kPrecisions) {
        const int terms = precision == Precision::kF32 ? 3 : precision == Precision::kFast ? 2 : 1;
        for (const Algorithm algorithm : {Algorithm::kProducts, Algorithm::kAuto}) {
          const EngineOptions options{.algorithm = algorithm, .precision = precision};
          const auto y = RunNetwork(NetworkOf(c, r), options, c.input, r.x, 1 + static_cast<int>(seed % 3));
          ASSERT_EQ(y.size(), r.want.size());
          for (size_t i = 0; i < y.size(); ++i) {
            const double within = (c.residual ? 3 : 1.5) * TermError(terms) * most[i] + std::max(2e-6 * r.peak, 2 * r.plain_error);
            ASSERT_LE(std::abs(y[i] - r.want[i]), within)
                << NameOf(*table) << ", " << terms << " terms, seed " << seed << ": " << Describe(c);
          }
          if (algorithm == Algorithm::kProducts) {
            for (const auto& name : KernelsOf(NetworkOf(c, r), options, c.input))
              multiplied += name.find("bf16") != std::string::npos && name.find("ingest") == std::string::npos;
          }
        }
      }
    }
  }
  EXPECT_GT(multiplied, 1500);  // the rest are depthwise, or of a stride that tiles do not take
}

TEST_F(EngineTermsTest, EverySmallMap) {
  const std::pair<int64_t, int64_t> channels[] = {{3, 16}, {17, 33}, {64, 48}};
  for (const auto& [in, out] : channels) {
    for (int64_t height = 1; height <= 18; height += 1 + height / 3) {
      for (int64_t width = 1; width <= 36; width += 1 + width / 5) {
        for (const int64_t stride : {1, 2}) {
          const Case c{.input = {1, in, height, width},
                       .out_channels = out,
                       .groups = 1,
                       .kernel_h = 3,
                       .kernel_w = 3,
                       .stride = stride,
                       .pad_h = 1,
                       .pad_w = 1,
                       .dilation = 1,
                       .activation = FindActivation("relu"),
                       .residual = false};
          const Reckoned r = Reckon(c, static_cast<uint32_t>(height * 40 + width));
          for (const KernelTable* table : Tables()) {
            SetKernels(*table);
            const auto y = RunNetwork(NetworkOf(c, r), {.algorithm = Algorithm::kProducts}, c.input, r.x, 2);
            for (size_t i = 0; i < y.size(); ++i) {
              ASSERT_LE(std::abs(y[i] - r.want[i]), std::max(2e-6 * r.peak, 2 * r.plain_error)) << NameOf(*table) << " " << Describe(c);
            }
          }
        }
      }
    }
  }
}

// 3x3 weights with the 1x1 and the identity of a RepVGG block on them, and inputs that a ReLU has made.
Reckoned RepVggLike(const Case& c, uint32_t seed) {
  Reckoned r = Reckon(c, seed);
  for (float& v : r.x) v = std::max(v, 0.0f);
  const int64_t in = c.input.channels, taps = c.kernel_h * c.kernel_w, middle = taps / 2;
  std::mt19937 engine(seed + 1);
  const auto pointwise = RandomFloats(static_cast<size_t>(c.out_channels * in), engine);
  for (int64_t o = 0; o < c.out_channels; ++o) {
    for (int64_t i = 0; i < in; ++i) {
      float& w = r.weight[static_cast<size_t>((o * in + i) * taps + middle)];
      w += pointwise[static_cast<size_t>(o * in + i)] * 0.3f / std::sqrt(static_cast<float>(in)) + (o == i ? 1.0f : 0.0f);
    }
  }
  r.want = Reference<double>(c, ShapeOf(c), r.x, r.weight, r.bias);
  const auto plain = Reference<float>(c, ShapeOf(c), r.x, r.weight, r.bias);
  r.peak = r.plain_error = 0;
  for (size_t i = 0; i < plain.size(); ++i) {
    r.peak = std::max(r.peak, std::abs(r.want[i]));
    r.plain_error = std::max(r.plain_error, std::abs(plain[i] - r.want[i]));
  }
  return r;
}

TEST_F(EngineTermsTest, EveryPrecisionKeepsItsPromiseOnRepVggLikeLayers) {
  for (const auto& [in, out, size, stride] :
       {std::array<int64_t, 4>{48, 48, 28, 1}, {96, 96, 14, 1}, {192, 64, 14, 1}, {64, 128, 14, 2}, {384, 32, 7, 1}, {3, 48, 64, 2}}) {
    const Case c{.input = {1, in, size, size},
                 .out_channels = out,
                 .groups = 1,
                 .kernel_h = 3,
                 .kernel_w = 3,
                 .stride = stride,
                 .pad_h = 1,
                 .pad_w = 1,
                 .dilation = 1,
                 .activation = FindActivation("relu"),
                 .residual = false};
    const Reckoned r = RepVggLike(c, static_cast<uint32_t>(in));
    for (const KernelTable* table : Tables()) {
      SetKernels(*table);
      for (const Precision precision : kPrecisions) {
        const double bound = precision == Precision::kF32    ? std::max(2e-6, 2 * r.plain_error / r.peak)
                             : precision == Precision::kFast ? 2e-5
                                                             : 1e-2;
        for (const Algorithm algorithm : {Algorithm::kAuto, Algorithm::kProducts, Algorithm::kDirect, Algorithm::kWinograd2,
                                          Algorithm::kWinograd42, Algorithm::kWinograd4}) {
          const auto y = RunNetwork(NetworkOf(c, r), {.algorithm = algorithm, .precision = precision}, c.input, r.x, 2);
          double error = 0;
          for (size_t i = 0; i < y.size(); ++i) error = std::max(error, std::abs(y[i] - r.want[i]));
          EXPECT_LE(error / r.peak, bound) << NameOf(*table) << ", precision " << static_cast<int>(precision) << ", algorithm "
                                           << static_cast<int>(algorithm) << ": " << Describe(c);
        }
      }
    }
  }
}

// A stem, a chain with a residual, a depthwise convolution and its pointwise one, pooling and a linear layer: values that are read as
// terms, as float32, and as both.
Network Mixed() {
  std::mt19937 engine(21);
  Network network;
  network.inputs = {{ValueType::kImages, 3}};
  const auto conv = [&](int input, int64_t in, int64_t out, int64_t k, int64_t stride, int64_t groups, const Activation* activation) {
    const Case c{.input = {1, in, 1, 1},
                 .out_channels = out,
                 .groups = groups,
                 .kernel_h = k,
                 .kernel_w = k,
                 .stride = stride,
                 .pad_h = k / 2,
                 .pad_w = k / 2,
                 .dilation = 1,
                 .activation = activation,
                 .residual = false};
    auto weight = RandomFloats(static_cast<size_t>(out * (in / groups) * k * k), engine);
    for (float& w : weight) w /= std::sqrt(static_cast<float>(in / groups * k * k));
    network.nodes.push_back(ConvNode(c, weight, RandomFloats(static_cast<size_t>(out), engine)));
    network.nodes.back().inputs = {input};
    return static_cast<int>(network.nodes.size());
  };
  const auto other = [&](const char* op, int input) {
    NetworkNode node;
    node.op = FindOperator(op);
    node.inputs = {input};
    network.nodes.push_back(std::move(node));
    return static_cast<int>(network.nodes.size());
  };
  const int stem = conv(0, 3, 40, 3, 2, 1, FindActivation("relu"));
  const int first = conv(stem, 40, 40, 3, 1, 1, FindActivation("silu"));
  const int second = conv(first, 40, 40, 3, 1, 1, FindActivation("relu"));
  network.nodes.back().inputs.push_back(stem);
  const int depthwise = conv(second, 40, 40, 3, 1, 40, FindActivation("relu"));
  const int pointwise = conv(depthwise, 40, 72, 1, 1, 1, FindActivation("hardswish"));
  const int third = conv(pointwise, 72, 64, 3, 2, 2, FindActivation("relu"));
  const int pooled = other("globalAveragePool", third), flat = other("flatten", pooled);
  conv(flat, 64, 10, 1, 1, 1, nullptr);
  network.nodes.back().op = FindOperator("linear");
  network.outputs = {static_cast<int>(network.nodes.size())};
  return network;
}

TEST_F(EngineTermsTest, ANetworkOfMixedKernelsIsRightAndTheSameForAnyThreads) {
  std::mt19937 engine(22);
  for (const int64_t batch : {1, 3}) {
    const ImageShape input{batch, 3, 37, 45};
    const auto x = RandomFloats(static_cast<size_t>(batch * 3 * 37 * 45), engine);
    const auto want = RunNetwork(Mixed(), {.algorithm = Algorithm::kFloat64}, input, x, 2);
    const double peak = std::abs(*std::max_element(want.begin(), want.end(), [](float a, float b) { return std::abs(a) < std::abs(b); }));
    for (const KernelTable* table : Tables()) {
      SetKernels(*table);
      for (const Precision precision : kPrecisions) {
        for (const Algorithm algorithm : {Algorithm::kAuto, Algorithm::kProducts}) {
          const EngineOptions options{.algorithm = algorithm, .precision = precision};
          const auto y = RunNetwork(Mixed(), options, input, x, 1);
          const double bound = precision == Precision::kF32 ? 2e-6 : precision == Precision::kFast ? 4e-5 : 2e-2;
          for (size_t i = 0; i < y.size(); ++i) EXPECT_LE(std::abs(y[i] - want[i]) / peak, bound) << NameOf(*table);
          for (const int threads : {2, 3})
            EXPECT_EQ(RunNetwork(Mixed(), options, input, x, threads), y) << NameOf(*table) << ", " << threads << " threads";
        }
      }
    }
  }
}

TEST_F(EngineTermsTest, WhatLiesBetweenTwoProductsIsNeverFloat32) {
  SetKernels(EmulatedAmxTable());
  const auto names = KernelsOf(Mixed(), {.algorithm = Algorithm::kProducts, .precision = Precision::kFast}, {1, 3, 64, 64});
  const std::vector<std::string> want{"ingest bf16 terms",
                                      "tiles-planar bf16x3 2x16",
                                      "split",
                                      "tiles bf16x3 2x16",
                                      "tiles bf16x3 2x16",
                                      "depthwise 2x8 + tiles bf16x3 2x16",
                                      "tiles bf16x3 2x16",
                                      "global average pool of sums",
                                      "split",
                                      "tiles bf16x3 2x1",
                                      "deliver"};
  EXPECT_EQ(names, want);  // the stem's result is also a residual, the pooled one has no other form
}

// The kernels of RepVGG-A0's four kinds of layers: 48 channels at 56 x 56, a stride of 2, 192 channels at 14 x 14 and the last.
TEST_F(EngineTermsTest, SelectionMixesWinogradAndTilesByTheRates) {
  SetKernels(EmulatedAmxTable());
  const auto kernel = [](Precision precision, int64_t in, int64_t out, int64_t size, int64_t stride) {
    const Case c{.input = {1, in, size, size},
                 .out_channels = out,
                 .groups = 1,
                 .kernel_h = 3,
                 .kernel_w = 3,
                 .stride = stride,
                 .pad_h = 1,
                 .pad_w = 1,
                 .dilation = 1,
                 .activation = FindActivation("relu"),
                 .residual = false};
    Reckoned weights;
    weights.weight.resize(static_cast<size_t>(in * out * 9));
    weights.bias.resize(static_cast<size_t>(out));
    // Beside a layer of many weights: alone its Winograd weights would be more than a network's may grow.
    const Case wide{.input = {1, out, 1, 1},
                    .out_channels = 8 * in + 4096,
                    .groups = 1,
                    .kernel_h = 1,
                    .kernel_w = 1,
                    .stride = 4,
                    .pad_h = 0,
                    .pad_w = 0,
                    .dilation = 1,
                    .activation = {},
                    .residual = false};
    Network network = NetworkOf(c, weights);
    network.nodes.push_back(ConvNode(wide, std::vector<float>(static_cast<size_t>(wide.out_channels * out)),
                                     std::vector<float>(static_cast<size_t>(wide.out_channels))));
    network.nodes.back().inputs = {1};
    network.outputs = {2};
    const auto names = KernelsOf(std::move(network), {.precision = precision}, c.input);
    const auto found = std::find_if(names.begin(), names.end(), [](const std::string& name) {
      return name.substr(0, 5) == "tiles" || name.substr(0, 8) == "winograd";
    });
    return found == names.end() ? std::string("neither") : *found;
  };
  EXPECT_EQ(kernel(Precision::kF32, 48, 48, 56, 1).substr(0, 12), "winograd F(4");
  EXPECT_EQ(kernel(Precision::kF32, 128, 128, 56, 1).substr(0, 12), "winograd F(4");
  EXPECT_EQ(kernel(Precision::kF32, 96, 192, 28, 2), "neither");
  EXPECT_EQ(kernel(Precision::kF32, 192, 1280, 14, 2), "neither");
  EXPECT_EQ(kernel(Precision::kFast, 192, 192, 14, 1), "tiles bf16x3 2x14");
  EXPECT_EQ(kernel(Precision::kFast, 512, 512, 14, 1), "tiles bf16x3 2x14");
  for (const auto& [in, out, size, stride] :
       {std::array<int64_t, 4>{48, 48, 56, 1}, {192, 192, 14, 1}, {96, 192, 28, 2}, {192, 1280, 14, 2}})
    EXPECT_EQ(kernel(Precision::kBf16, in, out, size, stride).substr(0, 11), "tiles bf16 ");
  EXPECT_EQ(kernel(Precision::kBf16, 3, 48, 224, 2), "tiles-planar bf16 2x16");
}

TEST_F(EngineTermsTest, WeightsLieInMemoryOnceAtTheWidthOfTheirTerms) {
  SetKernels(EmulatedAmxTable());
  std::mt19937 engine(23);
  const Case c{.input = {1, 64, 14, 14},
               .out_channels = 64,
               .groups = 1,
               .kernel_h = 3,
               .kernel_w = 3,
               .stride = 1,
               .pad_h = 1,
               .pad_w = 1,
               .dilation = 1,
               .activation = {},
               .residual = false};
  const Reckoned r = Reckon(c, 1);
  for (const Precision precision : kPrecisions) {
    std::shared_ptr<Engine> made;
    ASSERT_TRUE(Engine::Create(NetworkOf(c, r), {.algorithm = Algorithm::kProducts, .precision = precision}, &made).ok());
    ASSERT_TRUE(made->Prepare(ShapesOf(c.input), 1).ok());
    const size_t terms = precision == Precision::kF32 ? 3 : precision == Precision::kFast ? 2 : 1;
    EXPECT_EQ(made->memory().source_weights, 0u);
    EXPECT_EQ(made->memory().packed_weights, 64u * 64 * 9 * 2 * terms + 64 * 4);
  }
}

}  // namespace
}  // namespace repfuse
