// What each way to compute a convolution loses, beside float64: on the dense layers, with weights like those of a fused RepVGG block and
// inputs that a ReLU has made. Matrix tiles are emulated: their results, though not their speed, are those of a CPU that has them. And what
// it loses at most, of the largest sum of magnitudes of the terms, against filters and inputs made for that. usage:
// build-native/native_benchmarks --benchmark_filter='precision/|adversaries/'
#include <cmath>
#include <cstring>
#include <random>

#include "../test/adversaries.h"
#include "../test/emulated_tiles.h"
#include "layers.h"
#include "measure.h"
#include "repfuse/engine.h"

namespace repfuse {
namespace {

struct Method {
  const char* name;
  Algorithm algorithm;
  Precision precision;
};
constexpr Method kMethods[] = {{"direct", Algorithm::kDirect, Precision::kF32},
                               {"winograd2", Algorithm::kWinograd2, Precision::kF32},
                               {"winograd4", Algorithm::kWinograd4, Precision::kF32},
                               {"six products", Algorithm::kProducts, Precision::kF32},
                               {"three products", Algorithm::kProducts, Precision::kFast},
                               {"one product", Algorithm::kProducts, Precision::kBf16}};

std::vector<float> Normal(int64_t count, std::mt19937& engine) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = normal(engine);
  return values;
}

AlignedBuffer BufferOf(const std::vector<float>& values) {
  AlignedBuffer buffer;
  if (buffer.Allocate(values.size() * sizeof(float))) std::memcpy(buffer.data(), values.data(), buffer.bytes());
  return buffer;
}

Network NetworkOf(const Layer& layer) {
  std::mt19937 engine(1);
  auto weight = Normal(layer.weights(), engine);
  const auto pointwise = Normal(layer.out * layer.in, engine);
  const int64_t taps = layer.kernel * layer.kernel;
  for (float& w : weight) w /= std::sqrt(static_cast<float>(layer.in * taps));
  for (int64_t o = 0; o < layer.out; ++o) {  // the 1x1 branch, and the identity
    for (int64_t i = 0; i < layer.in; ++i) {
      weight[static_cast<size_t>((o * layer.in + i) * taps + taps / 2)] +=
          pointwise[static_cast<size_t>(o * layer.in + i)] * 0.3f / std::sqrt(static_cast<float>(layer.in)) + (o == i ? 1.0f : 0.0f);
    }
  }
  NetworkNode node;
  node.op = FindOperator("conv");
  node.inputs = {0};
  node.activation = FindActivation("relu");
  node.out_channels = layer.out;
  node.kernel_h = node.kernel_w = layer.kernel;
  node.stride_h = node.stride_w = layer.stride;
  node.pad_top = node.pad_left = node.pad_bottom = node.pad_right = layer.kernel / 2;
  node.weight = BufferOf(weight);
  node.bias = BufferOf(Normal(layer.out, engine));
  Network network;
  network.inputs = {{ValueType::kImages, layer.in}};
  network.nodes.push_back(std::move(node));
  network.outputs = {1};
  return network;
}

void BM_Error(benchmark::State& state, Layer layer, Method method) {
  SetKernels(EmulatedAmxTable());
  const ImageShape input{1, layer.in, layer.size, layer.size};
  std::mt19937 random(2);
  auto x = Normal(layer.in * layer.size * layer.size, random);
  for (float& v : x) v = std::max(v, 0.0f);
  const auto run = [&](const EngineOptions& options) {
    std::vector<float> y(static_cast<size_t>(layer.out * layer.out_size() * layer.out_size()));
    const std::span<float> results[] = {y};
    std::shared_ptr<Engine> engine;
    std::vector<StepReport> steps;
    if (!Engine::Create(NetworkOf(layer), options, &engine).ok() ||
        !engine->Run(ShapesOf(input), InputsOf(x), results, DefaultThreads()).ok() ||
        !engine->Explain(ShapesOf(input), DefaultThreads(), &steps).ok())
      state.SkipWithError("not run");
    for (const StepReport& step : steps) {
      if (step.macs > 0) state.SetLabel(step.kernel);
    }
    return y;
  };
  double error = 0, squares = 0, peak = 0, energy = 0;
  for (auto _ : state) {
    const auto want = run({.algorithm = Algorithm::kFloat64}), got = run({.algorithm = method.algorithm, .precision = method.precision});
    for (size_t i = 0; i < want.size(); ++i) {
      const double exact = want[i], difference = std::abs(got[i] - exact);
      peak = std::max(peak, std::abs(exact));
      error = std::max(error, difference);
      squares += difference * difference;
      energy += exact * exact;
    }
  }
  state.counters["error"] = error / peak;
  state.counters["rms"] = std::sqrt(squares / energy);
  SetIsa(BestIsa());
}

// Of all adversaries, and of those whose terms are of both signs and spread over the channels; the label tells which of all is the worst.
void BM_Adversaries(benchmark::State& state, TriedLayer layer, Method method) {
  SetKernels(EmulatedAmxTable());
  double most = 0, even = 0;
  std::string kernel;
  for (auto _ : state) {
    for (const TriedFilter& filter : TriedFilters()) {
      for (const TriedInput& input : TriedInputs()) {
        const double error = Tried(layer, filter, input).Error({.algorithm = method.algorithm, .precision = method.precision}, &kernel);
        if (filter.even && input.even) even = std::max(even, error);
        if (error <= most) continue;
        most = error;
        state.SetLabel(std::string(filter.name) + " / " + input.name);
      }
    }
  }
  state.counters["most"] = most;
  state.counters["even"] = even;
  SetIsa(BestIsa());
}

const bool registered = [] {
  for (const TriedLayer& layer : {TriedLayer{256, 32, 24, 3}, {512, 32, 16, 3}, {512, 32, 16, 1}}) {
    for (const Method& method : kMethods) {
      const bool winograd = method.algorithm == Algorithm::kWinograd2 || method.algorithm == Algorithm::kWinograd4;
      if (winograd && layer.kernel != 3) continue;
      const std::string size = std::to_string(layer.size), kernel = std::to_string(layer.kernel);
      const std::string name = "adversaries/" + std::to_string(layer.in) + "->" + std::to_string(layer.out) + " " + kernel + "x" + kernel +
                               " " + size + "x" + size + "/" + method.name;
      benchmark::RegisterBenchmark(name.c_str(), BM_Adversaries, layer, method)->Iterations(1);
    }
  }
  for (const Layer& layer : Layers()) {
    if (layer.groups > 1) continue;
    for (const Method& method : kMethods) {
      const bool winograd = method.algorithm == Algorithm::kWinograd2 || method.algorithm == Algorithm::kWinograd4;
      if (winograd && (layer.kernel != 3 || layer.stride != 1)) continue;
      const std::string name = "precision/" + layer.name() + "/" + method.name;
      benchmark::RegisterBenchmark(name.c_str(), BM_Error, layer, method)->Iterations(1);
    }
  }
  return true;
}();

}  // namespace
}  // namespace repfuse
