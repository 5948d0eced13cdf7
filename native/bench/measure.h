// What the benchmarks have in common: operands, the machine's limits, counters against them.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "repfuse/kernels.h"
#include "repfuse/parallel.h"

namespace repfuse {

inline std::vector<float> Filled(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 7919 % 101) / 101.0f - 0.5f;
  return values;
}

// Multiply-adds in registers alone, on the level in use, measured now.
inline double PeakFlopsPerSecond(int threads) {
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

// Of what every iteration does.
inline void Report(benchmark::State& state, double flops, int threads) {
  state.counters["flops"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["of_peak"] = benchmark::Counter(flops / PeakFlopsPerSecond(threads), benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace repfuse
