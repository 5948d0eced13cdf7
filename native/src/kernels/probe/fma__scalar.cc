// Twelve chains of scalar multiply and add.
#pragma GCC optimize("no-tree-vectorize")

#include "fma.h"

namespace repfuse {

double FmaProbe__scalar(int64_t rounds, float* sink) {
  constexpr int kChains = 12;
  float acc[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) acc[i] = static_cast<float>(i);
  float factor = 0.9999f, term = 1e-6f;
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) acc[i] = acc[i] * factor + term;
    __asm__ volatile("" : "+x"(factor), "+x"(term));
  }
  float sum = 0;
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sum += acc[i];
  *sink = sum;
  return 2.0 * kChains * static_cast<double>(rounds);
}

}  // namespace repfuse
