// Networks of odd geometry (see geometry_networks.h): each is refused by a status, or gives what the reference gives, in an engine and by
// operators. REPFUSE_GEOMETRY_CASES is how many; `npm run trust` runs ten thousand under sanitizers.
#include <gtest/gtest.h>

#include <cstdlib>

#include "geometry_networks.h"
#include "isa_levels.h"
#include "network_reference.h"
#include "repfuse/conv.h"
#include "repfuse/pool.h"
#include "repfuse/tensor_op.h"

namespace repfuse {
namespace {

constexpr int64_t kMaxElements = 1 << 18;
constexpr int64_t kMemoryLimit = int64_t{256} << 20;

// Of the peak: far more than any kernel loses, far less than a pixel in the wrong place.
double Tolerance(Precision precision) { return precision == Precision::kF32 ? 2e-4 : precision == Precision::kFast ? 2e-3 : 8e-2; }

struct Expected {
  enum class Kind { kValues, kRefused, kTooLarge } kind = Kind::kValues;
  std::vector<reference::Values> values;
  bool finite = true;
  double peak = 0;  // of all values
};

Expected Expect(const GeometryCase& c, const std::vector<float>& x) {
  Expected expected;
  try {
    expected.values = reference::Evaluator(c.network, kMaxElements)
                          .Run({{c.input.batch, c.input.channels, c.input.height, c.input.width}, {x.begin(), x.end()}});
  } catch (const reference::Refused&) {
    expected.kind = Expected::Kind::kRefused;
  } catch (const reference::TooLarge&) {
    expected.kind = Expected::Kind::kTooLarge;
  }
  for (const auto& values : expected.values) {
    for (const double value : values.data) {
      if (!std::isfinite(value)) expected.finite = false;
      else expected.peak = std::max(expected.peak, std::abs(value));
    }
  }
  return expected;
}

// What became of a case, in counts.
struct Tally {
  int values = 0, refused = 0, large = 0, plain = 0;
};

// The operators outside an engine, each on the values that the reference has: convolutions without what follows them, poolings, tensor
// operators.
void RunOperators(const Network& network, const Expected& expected, int threads) {
  for (size_t i = 0; i < network.nodes.size(); ++i) {
    const NetworkNode& n = network.nodes[i];
    if (n.inputs.empty()) continue;
    const reference::Values &from = expected.values[static_cast<size_t>(n.inputs[0])], &want = expected.values[i + 1];
    const std::vector<float> x(from.data.begin(), from.data.end());
    std::vector<float> y(want.data.size(), NAN);
    Status status = Ok();
    if (n.op == FindOperator("conv") && n.inputs.size() == 1 && !n.activation) {
      const ConvShape shape{.batch = from.size(0),
                            .in_channels = from.size(1),
                            .height = from.size(2),
                            .width = from.size(3),
                            .out_channels = n.out_channels,
                            .kernel_h = n.kernel_h,
                            .kernel_w = n.kernel_w,
                            .stride_h = n.stride_h,
                            .stride_w = n.stride_w,
                            .pad_top = n.pad_top,
                            .pad_left = n.pad_left,
                            .pad_bottom = n.pad_bottom,
                            .pad_right = n.pad_right,
                            .dilation_h = n.dilation_h,
                            .dilation_w = n.dilation_w,
                            .groups = n.groups};
      status = Conv2d(shape, x.data(), n.weight.as<float>(), n.bias.as<float>(), false, y.data(), threads);
    } else if (n.op == FindOperator("maxPool") || n.op == FindOperator("averagePool")) {
      // A window of nothing but padding on the right is refused.
      if (n.pad_bottom > (n.kernel_h - 1) * n.dilation_h || n.pad_right > (n.kernel_w - 1) * n.dilation_w) continue;
      const PoolShape shape{.planes = from.size(0) * from.size(1),
                            .height = from.size(2),
                            .width = from.size(3),
                            .kernel_h = n.kernel_h,
                            .kernel_w = n.kernel_w,
                            .stride_h = n.stride_h,
                            .stride_w = n.stride_w,
                            .dilation_h = n.dilation_h,
                            .dilation_w = n.dilation_w,
                            .pad_top = n.pad_top,
                            .pad_left = n.pad_left,
                            .pad_bottom = n.pad_bottom,
                            .pad_right = n.pad_right,
                            .out_height = want.size(2),
                            .out_width = want.size(3)};
      status = n.op == FindOperator("maxPool") ? MaxPool2d(shape, x.data(), y.data(), threads)
                                               : AveragePool2d(shape, {n.count_include_pad, 0}, x.data(), y.data(), threads);
    } else if (IsTensorOp(n) && n.inputs.size() == 1) {
      TensorView view{x.data(), {}};
      for (const int64_t size : from.shape) view.shape[view.shape.rank++] = size;
      status = RunTensorOp(n, {&view, 1}, y, threads);
    } else {
      continue;
    }
    ASSERT_TRUE(status.ok()) << "operator " << i << ": " << status.message;
    if (!expected.finite) continue;
    for (size_t k = 0; k < y.size(); ++k)
      ASSERT_LE(std::abs(static_cast<double>(y[k]) - want.data[k]), 1e-5 * expected.peak) << "operator " << i << ", element " << k;
  }
}

void RunCase(GeometryCase c, uint32_t seed, Tally* tally) {
  std::mt19937 random(seed);
  const auto x = RandomFloats(static_cast<size_t>(c.input.batch * c.input.channels * c.input.height * c.input.width), random);
  const Expected expected = Expect(c, x);
  const std::vector<int> outputs = c.network.outputs;
  c.options.memory = {.most = kMemoryLimit, .least = kMemoryLimit};
  const int threads = 1 + static_cast<int>(seed % 3);
  if (expected.kind == Expected::Kind::kValues) RunOperators(c.network, expected, threads);
  std::shared_ptr<Engine> engine;
  Status status = Engine::Create(std::move(c.network), c.options, &engine);
  if (status.ok()) status = engine->Prepare(ShapesOf(c.input), threads);
  if (expected.kind == Expected::Kind::kTooLarge) {
    ++tally->large;  // compiled within the limit, or not
    return;
  }
  if (expected.kind == Expected::Kind::kRefused) {
    ++tally->refused;
    ASSERT_FALSE(status.ok());
    return;
  }
  ++tally->values;
  ASSERT_TRUE(status.ok()) << status.message << " at " << status.where;
  std::vector<StepReport> steps;
  ASSERT_TRUE(engine->Explain(ShapesOf(c.input), threads, &steps).ok());
  if (c.options.algorithm != Algorithm::kFloat64) {
    tally->plain += std::any_of(steps.begin(), steps.end(), [](const StepReport& step) { return step.kernel == "float64"; });
  }
  std::vector<std::vector<float>> results;
  std::vector<std::span<float>> spans;
  for (const int output : outputs) results.emplace_back(expected.values[static_cast<size_t>(output)].data.size(), NAN);
  for (auto& result : results) spans.push_back(result);
  for (int round = 0; round < 2; ++round) ASSERT_TRUE(engine->Run(ShapesOf(c.input), InputsOf(x), spans, threads).ok());
  if (!expected.finite) return;  // windows of nothing but padding
  for (size_t k = 0; k < outputs.size(); ++k) {
    const auto& want = expected.values[static_cast<size_t>(outputs[k])];
    for (size_t i = 0; i < want.data.size(); ++i) {
      ASSERT_LE(std::abs(static_cast<double>(results[k][i]) - want.data[i]), Tolerance(c.options.precision) * expected.peak)
          << "element " << i << " of output " << k;
    }
  }
}

uint32_t Cases() {
  const char* asked = std::getenv("REPFUSE_GEOMETRY_CASES");
  return asked == nullptr ? 600 : static_cast<uint32_t>(std::strtoul(asked, nullptr, 10));
}

TEST(GeometryTest, RandomNetworksAreRefusedOrGiveWhatTheReferenceGives) {
  const std::vector<Isa> isas = AvailableIsas();
  Tally tally;
  for (uint32_t seed = 0; seed < Cases(); ++seed) {
    GeometryCase c = GeometryGenerator(seed).Make();
    const Isa isa = isas[seed % isas.size()];
    ASSERT_TRUE(SetIsa(isa));
    SCOPED_TRACE("seed " + std::to_string(seed) + " on " + IsaName(isa) + ", algorithm " +
                 std::to_string(static_cast<int>(c.options.algorithm)) + ", precision " +
                 std::to_string(static_cast<int>(c.options.precision)) + ": " + c.text);
    RunCase(std::move(c), seed, &tally);
    if (HasFatalFailure()) break;
  }
  SetIsa(BestIsa());
  RecordProperty("values", tally.values);
  // The generator reaches every kind of case.
  EXPECT_GT(tally.values, static_cast<int>(Cases() / 3));
  EXPECT_GT(tally.refused, 0);
  EXPECT_GT(tally.large, 0);
  EXPECT_GT(tally.plain, 0);
}

// Vectors of one pixel an image, and a sum with a value of one pixel that has a border, since another kernel reads it with padding.
TEST(GeometryTest, AResidualOfOnePixelWithABorder) {
  constexpr int64_t kChannels = 16;
  const ImageShape input{5, kChannels, 1, 1};
  std::mt19937 random(11);
  const auto network = [&] {
    Network made;
    made.inputs = {{ValueType::kImages, kChannels}};
    const auto add = [&](std::vector<int> inputs, int64_t kernel) {
      NetworkNode& node = made.nodes.emplace_back();
      node.op = FindOperator("conv");
      node.inputs = std::move(inputs);
      node.out_channels = kChannels;
      node.kernel_h = node.kernel_w = kernel;
      node.pad_top = node.pad_left = node.pad_bottom = node.pad_right = kernel / 2;
      node.weight = BufferOf(RandomFloats(static_cast<size_t>(kChannels * kChannels * kernel * kernel), random));
    };
    add({0}, 1);     // value 1
    add({0}, 1);     // value 2, read with a border and without
    add({1, 2}, 1);  // value 3
    add({2}, 3);     // value 4
    made.outputs = {3, 4};
    return made;
  };
  for (const Algorithm algorithm : {Algorithm::kAuto, Algorithm::kDirect, Algorithm::kProducts, Algorithm::kFloat64}) {
    Tally tally;
    RunCase({.network = network(), .input = input, .options = {.algorithm = algorithm}, .text = {}}, 1, &tally);
    EXPECT_EQ(tally.values, 1);
  }
}

}  // namespace
}  // namespace repfuse
