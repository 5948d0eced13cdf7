// The engine's kernels, each on the layers that it can compute, as a step of a network: the fastest run of the step alone, without the
// conversions at the network's edges. usage: build-native/native_benchmarks --benchmark_filter=engine/
#include <cstring>

#include "../test/one_input.h"
#include "layers.h"
#include "measure.h"
#include "repfuse/engine.h"

namespace repfuse {
namespace {

struct Method {
  const char* name;
  Algorithm algorithm;
  Precision precision = Precision::kF32;
};

bool Fill(AlignedBuffer* buffer, int64_t count) {
  const auto values = Filled(count);
  if (!buffer->Allocate(values.size() * sizeof(float))) return false;
  std::memcpy(buffer->data(), values.data(), buffer->bytes());
  return true;
}

Network NetworkOf(const std::vector<Layer>& layers) {
  Network network;
  network.inputs = {{ValueType::kImages, layers.front().in}};
  for (const Layer& layer : layers) {
    NetworkNode node;
    node.op = FindOperator("conv");
    node.name = "layer";
    node.inputs = {static_cast<int>(network.nodes.size())};
    node.activation = FindActivation("relu");
    node.out_channels = layer.out;
    node.groups = layer.groups;
    node.kernel_h = node.kernel_w = layer.kernel;
    node.stride_h = node.stride_w = layer.stride;
    node.pad_top = node.pad_left = node.pad_bottom = node.pad_right = layer.kernel / 2;
    if (!Fill(&node.weight, layer.weights()) || !Fill(&node.bias, layer.out)) break;
    network.nodes.push_back(std::move(node));
  }
  network.outputs = {static_cast<int>(network.nodes.size())};
  return network;
}

// One layer, or two that are one step.
void BM_Step(benchmark::State& state, Isa isa, std::vector<Layer> layers, Method method, int threads) {
  SetIsa(isa);
  EngineOptions options;
  options.algorithm = method.algorithm;
  options.precision = method.precision;
  std::shared_ptr<Engine> engine;
  const Layer &first = layers.front(), &last = layers.back();
  const ImageShape input{1, first.in, first.size, first.size};
  const auto x = Filled(first.in * first.size * first.size);
  std::vector<float> y(static_cast<size_t>(last.out * last.out_size() * last.out_size()));
  const std::span<float> results[] = {y};
  double flops = 0, bytes = 4.0 * static_cast<double>(x.size() + y.size());
  for (const Layer& layer : layers) {
    flops += layer.flops();
    bytes += 4.0 * static_cast<double>(layer.weights());
  }
  if (!Engine::Create(NetworkOf(layers), options, &engine).ok() || !engine->Prepare(ShapesOf(input), threads).ok())
    state.SkipWithError("not compiled");
  for (auto _ : state) {
    if (!engine->Run(ShapesOf(input), InputsOf(x), results, threads).ok()) state.SkipWithError("not run");
  }
  std::vector<StepReport> steps;
  (void)engine->Explain(ShapesOf(input), threads, &steps);
  std::erase_if(steps, [](const StepReport& step) { return step.macs == 0; });  // the conversions at the edges
  if (steps.size() != 1) state.SkipWithError("not one step");
  else {
    const double seconds = steps[0].seconds;
    state.SetLabel(steps[0].kernel);
    state.counters["step_seconds"] = seconds;
    state.counters["flops"] = flops / seconds;
    state.counters["of_peak"] = flops / seconds / PeakFlopsPerSecond(threads);
    state.counters["bytes_per_second"] = bytes / seconds;
  }
  SetIsa(BestIsa());
}

const bool registered = [] {
  for (int level = 0; level < kIsaCount; ++level) {
    const Isa isa = static_cast<Isa>(level);
    if (!SetIsa(isa)) continue;
    const int most_terms = Kernels().products.terms;
    const auto add = [&](const std::string& name, const std::vector<Layer>& layers, const Method& method) {
      for (const int threads : {1, 2}) {
        const std::string run = "engine/" + name + "/" + method.name + "/" + IsaName(isa) + "/" + std::to_string(threads);
        benchmark::RegisterBenchmark(run.c_str(), BM_Step, isa, layers, method, threads)->UseRealTime();
      }
    };
    const std::vector<Layer> all = Layers();
    for (size_t i = 0; i < all.size(); ++i) {
      const Layer& layer = all[i];
      std::vector<Method> methods = {{"direct", Algorithm::kDirect}};
      if (layer.groups > 1) methods = {{"depthwise", Algorithm::kAuto}};
      if (layer.kernel == 3 && layer.stride == 1 && layer.groups == 1) {
        methods.push_back({"winograd2", Algorithm::kWinograd2});
        methods.push_back({"winograd4", Algorithm::kWinograd4});
      }
      const std::pair<int, Method> products[] = {{3, {"six products", Algorithm::kProducts, Precision::kF32}},
                                                 {2, {"three products", Algorithm::kProducts, Precision::kFast}},
                                                 {1, {"one product", Algorithm::kProducts, Precision::kBf16}}};
      for (const auto& [terms, method] : products) {
        if (layer.groups == 1 && terms <= most_terms) methods.push_back(method);
      }
      for (const Method& method : methods) add(layer.name(), {layer}, method);
      const bool separable = layer.groups > 1 && i + 1 < all.size() && all[i + 1].kernel == 1 && all[i + 1].size == layer.out_size();
      if (separable && all[i + 1].weights() <= 128 << 10)  // else they are two steps
        add(layer.name() + " + 1x1 " + std::to_string(all[i + 1].out), {layer, all[i + 1]}, {"separable", Algorithm::kAuto});
    }
  }
  SetIsa(BestIsa());
  return true;
}();

}  // namespace
}  // namespace repfuse
