// Explicit im2col and a packed matrix product, which `conv2d` uses, and that product's tile alone.
// build: cmake -B build-native -DREPFUSE_BENCHMARKS=ON && cmake --build build-native --target native_benchmarks
// usage: build-native/native_benchmarks [--benchmark_filter=im2col/A0] [--benchmark_enable_random_interleaving=true]
#include "kernels/gemm/gemm.h"
#include "layers.h"
#include "measure.h"
#include "repfuse/conv.h"

namespace repfuse {
namespace {

// One tile on operands in L1: the upper bound of the convolution.
void BM_Tile(benchmark::State& state, Isa isa) {
  SetIsa(isa);
  const GemmKernel& kernel = Kernels().gemm;
  const auto a = Filled(kernel.k_block * kernel.rows), b = Filled(kernel.k_block * kernel.columns), bias = Filled(kernel.rows);
  std::vector<float> c(static_cast<size_t>(kernel.rows * kernel.columns));
  for (auto _ : state) {
    kernel.run({.k = kernel.k_block,
                .a = a.data(),
                .lda = kernel.k_block,
                .b = b.data(),
                .c = c.data(),
                .ldc = kernel.columns,
                .rows = kernel.rows,
                .columns = kernel.columns,
                .accumulate = false,
                .bias = bias.data(),
                .relu = true});
    benchmark::ClobberMemory();
  }
  Report(state, 2.0 * static_cast<double>(kernel.k_block * kernel.rows * kernel.columns), 1);
  SetIsa(BestIsa());
}

void BM_Im2col(benchmark::State& state, Isa isa, Layer layer, int threads) {
  SetIsa(isa);
  const int64_t pad = layer.kernel / 2;
  const ConvShape shape{.batch = 1,
                        .in_channels = layer.in,
                        .height = layer.size,
                        .width = layer.size,
                        .out_channels = layer.out,
                        .kernel_h = layer.kernel,
                        .kernel_w = layer.kernel,
                        .stride_h = layer.stride,
                        .stride_w = layer.stride,
                        .pad_top = pad,
                        .pad_left = pad,
                        .pad_bottom = pad,
                        .pad_right = pad,
                        .dilation_h = 1,
                        .dilation_w = 1,
                        .groups = layer.groups};
  const auto x = Filled(layer.in * layer.size * layer.size), weight = Filled(layer.weights()), bias = Filled(layer.out);
  std::vector<float> y(static_cast<size_t>(layer.out * layer.out_size() * layer.out_size()));
  for (auto _ : state) {
    if (!Conv2d(shape, x.data(), weight.data(), bias.data(), true, y.data(), threads).ok()) state.SkipWithError("conv2d failed");
  }
  Report(state, layer.flops(), threads);
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * static_cast<int64_t>(layer.bytes()));
  SetIsa(BestIsa());
}

const bool registered = [] {
  for (int level = 0; level < kIsaCount; ++level) {
    const Isa isa = static_cast<Isa>(level);
    if (!IsaSupported(isa)) continue;
    const std::string name = IsaName(isa);
    benchmark::RegisterBenchmark(("tile/gemm/" + name + "/1").c_str(), BM_Tile, isa);
    for (const Layer& layer : Layers()) {
      for (const int threads : {1, 2}) {
        const std::string run = "im2col/" + layer.name() + "/" + name + "/" + std::to_string(threads);
        benchmark::RegisterBenchmark(run.c_str(), BM_Im2col, isa, layer, threads)->UseRealTime();
      }
    }
  }
  return true;
}();

}  // namespace
}  // namespace repfuse
