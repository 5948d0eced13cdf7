// Fusing RepVGG-B3's blocks in place, beside memcpy of their 3x3 kernels into warm memory: GB/s of 3x3 kernels.
// usage: build-native/native_benchmarks --benchmark_filter='fuse|memcpy' --benchmark_enable_random_interleaving=true
#include <cstring>
#include <memory>

#include "measure.h"
#include "repfuse/fuse.h"

namespace repfuse {
namespace {

struct Block {
  std::vector<float> kernel, pointwise, bias, target;
  std::vector<double> scale, small_scale, constant;
  FuseTask task;
};

// Scales below one: the same buffers are fused again and again, and must stay finite.
std::unique_ptr<Block> MakeBlock(int64_t in, int64_t out, bool identity) {
  auto block = std::make_unique<Block>();
  const size_t channels = static_cast<size_t>(out);
  block->kernel = Filled(out * in * 9);
  block->pointwise = Filled(out * in);
  block->target.assign(block->kernel.size(), 1.0f);
  block->bias.resize(channels);
  block->scale.assign(channels, 0.9);
  block->small_scale.assign(channels, 0.05);
  block->constant.assign(channels, 0.1);
  FuseTask& task = block->task;
  task.out_channels = out;
  task.in_per_group = in;
  task.kernel_h = task.kernel_w = 3;
  task.factors = {{.type = FuseType::kF32,
                   .data = block->kernel.data(),
                   .out_channels = out,
                   .in_per_group = in,
                   .kernel_h = 3,
                   .kernel_w = 3,
                   .scale = block->scale.data()},
                  {.type = FuseType::kF32,
                   .data = block->pointwise.data(),
                   .out_channels = out,
                   .in_per_group = in,
                   .scale = block->small_scale.data()}};
  task.chains = {{.factors = {0}}, {.factors = {1}, .origin_h = 1, .origin_w = 1}};
  if (identity) {
    task.factors.push_back(
        {.type = FuseType::kConstant, .value = 1.0, .out_channels = out, .groups = out, .scale = block->small_scale.data()});
    task.chains.push_back({.factors = {2}, .origin_h = 1, .origin_w = 1});
  }
  task.biases = {{.factors = {}, .constants = block->constant}};
  task.weight = block->kernel.data();
  task.bias = block->bias.data();
  return block;
}

// Widths 64, 192, 384, 768, 2560; 1, 4, 6, 16, 1 blocks a stage.
const std::vector<std::unique_ptr<Block>>& Blocks() {
  static const auto blocks = [] {
    std::vector<std::unique_ptr<Block>> made;
    const int64_t widths[] = {3, 64, 192, 384, 768, 2560}, counts[] = {1, 4, 6, 16, 1};
    for (int stage = 0; stage < 5; ++stage) {
      for (int64_t i = 0; i < counts[stage]; ++i)
        made.push_back(MakeBlock(i == 0 ? widths[stage] : widths[stage + 1], widths[stage + 1], i > 0));
    }
    return made;
  }();
  return blocks;
}

int64_t KernelBytes() {
  int64_t bytes = 0;
  for (const auto& block : Blocks()) bytes += static_cast<int64_t>(block->kernel.size() * sizeof(float));
  return bytes;
}

void BM_Fuse(benchmark::State& state, Isa isa, FuseCheck check, int threads) {
  SetIsa(isa);
  for (const auto& block : Blocks()) block->task.check = check;
  const auto fuse_all = [&] {
    for (const auto& block : Blocks()) {
      FuseStats stats;
      if (!Fuse(block->task, threads, &stats).ok() || !stats.in_place) state.SkipWithError("not fused in place");
    }
  };
  fuse_all();  // warm
  for (auto _ : state) fuse_all();
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * KernelBytes());
  SetIsa(BestIsa());
}

void CopyAll(int threads) {
  for (const auto& block : Blocks()) {
    const int64_t count = static_cast<int64_t>(block->kernel.size());
    ParallelFor(threads, threads, [&](int64_t i, int) {
      const int64_t begin = count * i / threads, end = count * (i + 1) / threads;
      std::memcpy(block->target.data() + begin, block->kernel.data() + begin, static_cast<size_t>(end - begin) * sizeof(float));
    });
    benchmark::ClobberMemory();
  }
}

void BM_Memcpy(benchmark::State& state, int threads) {
  CopyAll(threads);  // warm
  for (auto _ : state) CopyAll(threads);
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * KernelBytes());
}

const bool registered = [] {
  for (const int threads : {1, 2}) {
    benchmark::RegisterBenchmark(("memcpy/B3/" + std::to_string(threads)).c_str(), BM_Memcpy, threads)->UseRealTime();
    for (int level = 0; level < kIsaCount; ++level) {
      const Isa isa = static_cast<Isa>(level);
      if (!IsaSupported(isa)) continue;
      const std::string end = std::string("/") + IsaName(isa) + "/" + std::to_string(threads);
      benchmark::RegisterBenchmark(("fuse/B3 check during" + end).c_str(), BM_Fuse, isa, FuseCheck::kDuring, threads)->UseRealTime();
      benchmark::RegisterBenchmark(("fuse/B3 check before" + end).c_str(), BM_Fuse, isa, FuseCheck::kBefore, threads)->UseRealTime();
    }
  }
  return true;
}();

}  // namespace
}  // namespace repfuse
