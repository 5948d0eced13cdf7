// What the machine can do at most: chains of independent multiply-adds in registers. Benchmarks relate their figures to it.
#pragma once

#include <cstdint>

namespace repfuse {

// Runs `rounds` rounds and returns the floating-point operations done (a multiply and an add each count). `sink` keeps the result.
double FmaProbe__scalar(int64_t rounds, float* sink);
#if defined(__x86_64__)
double FmaProbe__avx2(int64_t rounds, float* sink);
double FmaProbe__avx512(int64_t rounds, float* sink);
#endif

}  // namespace repfuse
