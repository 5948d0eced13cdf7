// The engine as a whole: networks of every kind of node, precision on weights like RepVGG's, memory.
#include "repfuse/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#include "isa_levels.h"
#include "network_support.h"

namespace {
std::atomic<int64_t> g_allocations{0};
}

// Counts what the C++ core allocates, in this whole program.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"  // g++ inlines one of the pair
void* operator new(size_t bytes) {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace repfuse {
namespace {

class NetworkBuilder {
 public:
  explicit NetworkBuilder(int64_t channels) { network_.inputs = {{ValueType::kImages, channels}}; }

  // Each returns the value that it makes.
  int Conv(int input, int64_t from, int64_t to, int64_t kernel, int64_t stride, const Activation* activation, int64_t groups = 1) {
    NetworkNode& node = Add("conv", {input});
    node.activation = activation;
    node.out_channels = to;
    node.groups = groups;
    node.kernel_h = node.kernel_w = kernel;
    node.stride_h = node.stride_w = stride;
    node.pad_top = node.pad_left = node.pad_bottom = node.pad_right = kernel / 2;
    std::vector<float> weight = RandomFloats(static_cast<size_t>(to * (from / groups) * kernel * kernel), random_);
    for (float& w : weight) w /= std::sqrt(static_cast<float>(from / groups * kernel * kernel));
    node.weight = BufferOf(weight);
    node.bias = BufferOf(RandomFloats(static_cast<size_t>(to), random_));
    return Last();
  }
  int Plain(const char* op, std::vector<int> inputs, const Activation* activation = nullptr) {
    Add(op, std::move(inputs)).activation = activation;
    return Last();
  }
  int Pool(const char* op, int input, int64_t kernel, int64_t stride, int64_t padding) {
    NetworkNode& node = Add(op, {input});
    node.kernel_h = node.kernel_w = kernel;
    node.stride_h = node.stride_w = stride;
    node.pad_top = node.pad_left = node.pad_bottom = node.pad_right = padding;
    return Last();
  }
  int Linear(int input, int64_t from, int64_t to) {
    NetworkNode& node = Add("linear", {input});
    node.out_channels = to;
    node.weight = BufferOf(RandomFloats(static_cast<size_t>(from * to), random_));
    node.bias = BufferOf(RandomFloats(static_cast<size_t>(to), random_));
    return Last();
  }
  int Frame(int input, int64_t channels, int64_t padding) {
    NetworkNode& node = Add("frame", {input});
    node.pad_top = node.pad_left = node.pad_bottom = node.pad_right = padding;
    node.bias = BufferOf(RandomFloats(static_cast<size_t>(channels), random_));
    return Last();
  }
  // Of the kinds that say all by their integers.
  int Tensor(const char* op, std::vector<int> inputs, std::vector<int64_t> ints) {
    Add(op, std::move(inputs)).ints = std::move(ints);
    return Last();
  }
  int Constant(std::vector<int64_t> shape) {
    NetworkNode& node = Add("constant", {});
    size_t count = 1;
    for (const int64_t size : shape) count *= static_cast<size_t>(size);
    node.bias = BufferOf(RandomFloats(count, random_));
    node.ints = std::move(shape);
    return Last();
  }
  int Activate(int input, const Activation* activation, float alpha, float beta) {
    NetworkNode& node = Add("activation", {input});
    node.activation = activation;
    node.alpha = alpha;
    node.beta = beta;
    return Last();
  }
  int Binary(const char* function, std::vector<int> inputs) {
    Add("binary", std::move(inputs)).function = FindBinaryFunction(function);
    return Last();
  }
  int Mean(int input, std::vector<int64_t> ints) {
    NetworkNode& node = Add("reduce", {input});
    node.reduction = FindReduction("mean");
    node.ints = std::move(ints);
    return Last();
  }
  int Resize(int input, ResizeMode mode, double scale) {
    NetworkNode& node = Add("resize", {input});
    node.resize.mode = mode;
    node.resize.scales = {scale, scale};
    return Last();
  }
  Network Build(int output) {
    network_.outputs = {output};
    return std::move(network_);
  }

 private:
  NetworkNode& Add(const char* op, std::vector<int> inputs) {
    NetworkNode& node = network_.nodes.emplace_back();
    node.op = FindOperator(op);
    node.inputs = std::move(inputs);
    return node;
  }
  int Last() const { return static_cast<int>(network_.nodes.size()); }

  Network network_;
  std::mt19937 random_{5};
};

// One of every kind of node.
Network EveryKind() {
  NetworkBuilder b(3);
  const int stem = b.Conv(0, 3, 24, 3, 2, FindActivation("relu"));
  const int wide = b.Conv(stem, 24, 40, 3, 1, FindActivation("silu"));
  const int depthwise = b.Conv(wide, 40, 40, 5, 1, FindActivation("hardswish"), 40);
  const int sum = b.Plain("add", {depthwise, wide}, FindActivation("relu"));
  const int mean = b.Plain("globalAveragePool", {sum});
  const int squeezed = b.Conv(mean, 40, 10, 1, 1, FindActivation("relu"));
  const int gate = b.Conv(squeezed, 10, 40, 1, 1, FindActivation("sigmoid"));
  const int gated = b.Plain("gate", {sum, gate});
  const int framed = b.Frame(gated, 40, 1);
  const int most = b.Pool("maxPool", framed, 3, 2, 1);
  const int average = b.Pool("averagePool", most, 2, 2, 0);
  const int active = b.Plain("activation", {average}, FindActivation("sigmoid"));
  const int flat = b.Plain("flatten", {active});
  const int logits = b.Linear(flat, 40 * 3 * 3, 11);
  return b.Build(b.Plain("softmax", {logits}));
}

constexpr ImageShape kInput{2, 3, 18, 18};

// What works on tensors, and on images as on tensors.
Network EveryTensorKind() {
  NetworkBuilder b(3);
  const int stem = b.Conv(0, 3, 20, 3, 2, FindActivation("relu"));  // 9 x 9
  const int leaky = b.Activate(stem, FindActivation("leakyRelu"), 0.1f, 0),
            soft = b.Activate(stem, FindActivation("hardSigmoid"), 0.2f, 0.5f);
  const int bounded = b.Activate(b.Activate(leaky, FindActivation("tanh"), 0, 0), FindActivation("clip"), -0.5f, 0.5f);
  const int product = b.Binary("mul", {bounded, soft});
  const int large = b.Resize(product, ResizeMode::kNearest, 2), small = b.Resize(large, ResizeMode::kLinear, 0.5);
  const int joined = b.Tensor("concat", {small, product}, {1});      // 40 channels
  const int spread = b.Tensor("depthToSpace", {joined}, {2, 2, 1});  // 10 channels of 18 x 18
  const int tensor = b.Tensor("toTensor", {spread}, {});
  const int turned = b.Tensor("transpose", {tensor}, {0, 2, 3, 1});
  const int cut = b.Tensor("slice", {turned}, {0, 100, 1, 17, -100, -2, 1, 18, 1, 0, 10, 1});  // 9 x 17 x 10
  const int padded = b.Tensor("pad", {cut}, {0, 0, 1, 0, 0, 0, 0, 0});                         // 9 x 18 x 10
  const int rows = b.Tensor("reshape", {padded}, {0, -1, 10});                                 // 162 x 10
  const int factor = b.Constant({10, 33});
  const int matrix = b.Tensor("matMul", {rows, factor}, {});  // 162 x 33
  const int shares = b.Tensor("softmaxAxis", {matrix}, {1, 0});
  const int mean = b.Mean(shares, {1, 1});  // 1 x 33
  const int square = b.Tensor("squeeze", {mean}, {1});
  const int image = b.Tensor("unsqueeze", {square}, {2, 3});
  const int back = b.Tensor("toImages", {image}, {});
  return b.Build(b.Conv(back, 33, 11, 1, 1, FindActivation("relu")));
}

std::vector<float> Image(const ImageShape& shape) {
  std::mt19937 random(9);
  return RandomFloats(static_cast<size_t>(shape.batch * shape.channels * shape.height * shape.width), random);
}

class EngineTest : public IsaTest {};

TEST_P(EngineTest, BitEqualForAnyNumberOfThreadsAndFromRunToRun) {
  const auto x = Image(kInput);
  const auto want = RunNetwork(EveryKind(), {}, kInput, x, 1);
  float sum = 0;
  for (size_t i = 0; i < 11; ++i) sum += want[i];
  EXPECT_NEAR(sum, 1, 1e-5);
  for (const int threads : {2, 3, 8}) EXPECT_EQ(RunNetwork(EveryKind(), {}, kInput, x, threads), want);
}

TEST_P(EngineTest, TensorsAreBitEqualForAnyNumberOfThreads) {
  const auto x = Image(kInput);
  const auto want = RunNetwork(EveryTensorKind(), {}, kInput, x, 1);
  ASSERT_EQ(want.size(), 22u);
  for (const int threads : {2, 3, 8}) EXPECT_EQ(RunNetwork(EveryTensorKind(), {}, kInput, x, threads), want);
}

TEST_P(EngineTest, EveryLevelAgrees) {
  const auto x = Image(kInput);
  const auto got = RunNetwork(EveryKind(), {}, kInput, x, 1);
  ASSERT_TRUE(SetIsa(Isa::kScalar));
  const auto want = RunNetwork(EveryKind(), {}, kInput, x, 1);
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5);
}

void ExpectNoAllocations(Network network) {
  std::shared_ptr<Engine> engine;
  ASSERT_TRUE(Engine::Create(std::move(network), {}, &engine).ok());
  const auto x = Image(kInput);
  std::vector<float> y(22);
  const std::span<float> results[] = {y};
  for (const int threads : {1, 3}) {
    for (int warm = 0; warm < 3; ++warm) ASSERT_TRUE(engine->Run(ShapesOf(kInput), InputsOf(x), results, threads).ok());
    const size_t activations = engine->memory().activations;
    const int64_t before = g_allocations.load();
    for (int run = 0; run < 10; ++run) ASSERT_TRUE(engine->Run(ShapesOf(kInput), InputsOf(x), results, threads).ok());
    EXPECT_EQ(g_allocations.load(), before) << threads << " threads";
    EXPECT_EQ(engine->memory().activations, activations);
  }
}

TEST_P(EngineTest, ARunTakesNoMemory) {
  for (Network (*const network)() : {&EveryKind, &EveryTensorKind}) ExpectNoAllocations(network());
}

TEST_P(EngineTest, MismatchedTypesAreTold) {
  NetworkBuilder b(3);
  const int tensor = b.Tensor("toTensor", {0}, {});
  Network network = b.Build(b.Conv(tensor, 3, 4, 1, 1, FindActivation("relu")));
  std::shared_ptr<Engine> engine;
  ASSERT_TRUE(Engine::Create(std::move(network), {}, &engine).ok());
  const Status status = engine->Prepare(ShapesOf(kInput), 1);
  EXPECT_EQ(status.code, Code::kInvalidArgument);
  EXPECT_STREQ(status.message, "the type of an input");
  EXPECT_EQ(status.where, 1);
}

TEST_P(EngineTest, MisfitsAreToldByNode) {
  const auto fails = [&](Network network, const ImageShape& input, long long where) {
    std::shared_ptr<Engine> engine;
    ASSERT_TRUE(Engine::Create(std::move(network), {}, &engine).ok());
    const Status status = engine->Prepare(ShapesOf(input), 1);
    EXPECT_EQ(status.code, Code::kInvalidArgument);
    EXPECT_EQ(status.where, where);
  };
  fails(EveryKind(), {1, 4, 18, 18}, -1);
  fails(EveryKind(), {1, 3, 40, 40}, 13);  // the linear layer's features
  Network cycle = EveryKind();
  cycle.nodes[3].inputs[1] = 9;
  fails(std::move(cycle), kInput, 3);
  Network truncated = EveryKind();
  truncated.nodes[1].weight = BufferOf({1, 2, 3});
  fails(std::move(truncated), kInput, 1);
}

REPFUSE_FOR_ISAS(EngineTest);

// Weights like those of a fused RepVGG block: a 3x3 kernel, a 1x1 in its centre and an identity; inputs as a ReLU leaves them.
TEST_P(EngineTest, PrecisionOnWeightsLikeRepVggs) {
  for (const int64_t channels : {48, 192, 512}) {
    std::mt19937 random(static_cast<uint32_t>(channels));
    const ImageShape shape{1, channels, 14, 14};
    auto x = Image(shape);
    for (float& v : x) v = std::max(v, 0.0f);
    auto weight = RandomFloats(static_cast<size_t>(channels * channels * 9), random);
    const float spread = std::sqrt(1.0f / static_cast<float>(9 * channels));
    for (int64_t o = 0; o < channels; ++o) {
      for (int64_t i = 0; i < channels; ++i) {
        float* kernel = weight.data() + (o * channels + i) * 9;
        for (int tap = 0; tap < 9; ++tap) kernel[tap] *= spread * (tap == 4 ? 2.0f : 1.0f);
        if (o == i) kernel[4] += 1.0f;
      }
    }
    const auto bias = RandomFloats(static_cast<size_t>(channels), random);
    // A sample of the outputs in float64 and by a plain float32 sum.
    double peak = 0;
    std::vector<std::pair<size_t, double>> want;
    double plain_error = 0;
    for (size_t at = 0; at < static_cast<size_t>(channels * 196); at += 37) {
      const int64_t o = static_cast<int64_t>(at) / 196, row = static_cast<int64_t>(at) % 196 / 14, column = static_cast<int64_t>(at) % 14;
      double sum = bias[static_cast<size_t>(o)];
      float plain = bias[static_cast<size_t>(o)];
      for (int64_t i = 0; i < channels; ++i) {
        for (int64_t tap = 0; tap < 9; ++tap) {
          const int64_t y = row + tap / 3 - 1, z = column + tap % 3 - 1;
          if (y < 0 || z < 0 || y >= 14 || z >= 14) continue;
          const float input = x[static_cast<size_t>((i * 14 + y) * 14 + z)], w = weight[static_cast<size_t>((o * channels + i) * 9 + tap)];
          sum += static_cast<double>(input) * w;
          plain += input * w;
        }
      }
      peak = std::max(peak, std::abs(sum));
      plain_error = std::max(plain_error, std::abs(plain - sum));
      want.emplace_back(at, sum);
    }
    for (const Algorithm algorithm : {Algorithm::kDirect, Algorithm::kWinograd2, Algorithm::kWinograd42, Algorithm::kWinograd4}) {
      Network network;
      network.inputs = {{ValueType::kImages, channels}};
      NetworkNode& node = network.nodes.emplace_back();
      node.op = FindOperator("conv");
      node.inputs = {0};
      node.weight = BufferOf(weight);
      node.bias = BufferOf(bias);
      node.out_channels = channels;
      node.kernel_h = node.kernel_w = 3;
      node.pad_top = node.pad_left = node.pad_bottom = node.pad_right = 1;
      network.outputs = {1};
      const auto y = RunNetwork(std::move(network), {.algorithm = algorithm}, shape, x, 2);
      double error = 0;
      for (const auto& [at, value] : want) error = std::max(error, std::abs(y[at] - value));
      EXPECT_LE(error / peak, std::max(2e-6, 2 * plain_error / peak)) << channels << " channels, algorithm " << static_cast<int>(algorithm);
    }
  }
}

}  // namespace
}  // namespace repfuse
