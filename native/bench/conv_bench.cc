// Convolution and its tile: GFLOP/s, and the share of the multiply-add peak measured in the same process.
// build: cmake -B build-native -DREPFUSE_BENCHMARKS=ON && cmake --build build-native --target native_benchmarks
// usage: build-native/native_benchmarks [--benchmark_filter=conv/128->128] [--benchmark_enable_random_interleaving=true]
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "repfuse/conv.h"
#include "repfuse/kernels.h"
#include "repfuse/parallel.h"

namespace repfuse {
namespace {

double PeakFlopsPerSecond(int threads) {
  double best = 0;
  for (int repeat = 0; repeat < 3; ++repeat) {
    std::vector<double> flops(static_cast<size_t>(threads));
    const auto started = std::chrono::steady_clock::now();
    ParallelFor(threads, threads, [&](int64_t i, int) {
      float sink;
      flops[static_cast<size_t>(i)] = Kernels().fma_probe(400'000, &sink);
      benchmark::DoNotOptimize(sink);
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    double sum = 0;
    for (double f : flops) sum += f;
    best = std::max(best, sum / seconds);
  }
  return best;
}

void Report(benchmark::State& state, double flops, int threads) {
  state.counters["flops"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["of_peak"] = benchmark::Counter(flops / PeakFlopsPerSecond(threads), benchmark::Counter::kIsIterationInvariantRate);
}

std::vector<float> Filled(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 7919 % 101) / 101.0f - 0.5f;
  return values;
}

// One tile on operands in L1: the upper bound of the convolution.
void BM_Tile(benchmark::State& state, Isa isa) {
  SetIsa(isa);
  const GemmKernel& kernel = Kernels().gemm;
  const auto a = Filled(kernel.k_block * kernel.rows), b = Filled(kernel.k_block * kernel.columns), bias = Filled(kernel.rows);
  std::vector<float> c(static_cast<size_t>(kernel.rows * kernel.columns));
  for (auto _ : state) {
    kernel.run({.k = kernel.k_block, .a = a.data(), .lda = kernel.k_block, .b = b.data(), .c = c.data(), .ldc = kernel.columns,
                .rows = kernel.rows, .columns = kernel.columns, .accumulate = false, .bias = bias.data(), .relu = true});
    benchmark::ClobberMemory();
  }
  Report(state, 2.0 * static_cast<double>(kernel.k_block * kernel.rows * kernel.columns), 1);
  SetIsa(BestIsa());
}

struct Layer {
  int64_t in, out, size, kernel, stride, groups;
};

void BM_Conv(benchmark::State& state, Isa isa, Layer layer, int threads) {
  SetIsa(isa);
  const int64_t pad = layer.kernel / 2;
  const ConvShape shape{.batch = 1, .in_channels = layer.in, .height = layer.size, .width = layer.size, .out_channels = layer.out,
                        .kernel_h = layer.kernel, .kernel_w = layer.kernel, .stride_h = layer.stride, .stride_w = layer.stride,
                        .pad_top = pad, .pad_left = pad, .pad_bottom = pad, .pad_right = pad, .dilation_h = 1, .dilation_w = 1, .groups = layer.groups};
  const int64_t per_output = layer.in / layer.groups * layer.kernel * layer.kernel, pixels = shape.out_height() * shape.out_width();
  const auto x = Filled(layer.in * layer.size * layer.size), weight = Filled(layer.out * per_output), bias = Filled(layer.out);
  std::vector<float> y(static_cast<size_t>(layer.out * pixels));
  for (auto _ : state) {
    if (!Conv2d(shape, x.data(), weight.data(), bias.data(), true, y.data(), threads).ok()) state.SkipWithError("conv2d failed");
  }
  Report(state, 2.0 * static_cast<double>(layer.out * pixels * per_output), threads);
  SetIsa(BestIsa());
}

const bool registered = [] {
  // RepVGG-A0's layers (the first is the acceptance test's), pointwise and depthwise ones of MobileOne-S0.
  const std::vector<Layer> layers = {{128, 128, 56, 3, 1, 1}, {3, 48, 224, 3, 2, 1},   {48, 48, 112, 3, 2, 1},  {48, 48, 56, 3, 1, 1},
                                     {48, 96, 56, 3, 2, 1},   {96, 96, 28, 3, 1, 1},   {96, 192, 28, 3, 2, 1},  {192, 192, 14, 3, 1, 1},
                                     {192, 1280, 14, 3, 2, 1}, {48, 128, 56, 1, 1, 1}, {256, 256, 14, 1, 1, 1}, {128, 128, 28, 3, 1, 128},
                                     {128, 128, 56, 3, 2, 128}};
  for (int level = 0; level < kIsaCount; ++level) {
    const Isa isa = static_cast<Isa>(level);
    if (!IsaSupported(isa)) continue;
    const std::string name = IsaName(isa);
    benchmark::RegisterBenchmark(("tile/" + name).c_str(), BM_Tile, isa);
    for (const Layer& l : layers) {
      for (int threads : {1, 2}) {
        const std::string layer = std::to_string(l.in) + "->" + std::to_string(l.out) + (l.groups > 1 ? " dw" : "") + " " + std::to_string(l.kernel) + "x" +
                                  std::to_string(l.kernel) + " " + std::to_string(l.size) + " s" + std::to_string(l.stride);
        benchmark::RegisterBenchmark(("conv/" + layer + "/" + name + "/" + std::to_string(threads)).c_str(), BM_Conv, isa, l, threads)->UseRealTime();
      }
    }
  }
  return true;
}();

}  // namespace
}  // namespace repfuse
