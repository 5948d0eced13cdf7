#include <algorithm>
#include <cmath>

#include "repfuse/elementwise.h"
#include "repfuse/parallel.h"

namespace repfuse {
namespace {

constexpr int64_t kShare = 1 << 13;

double Apply(Activation kind, double x) {
  switch (kind) {
    case Activation::kSigmoid: return 1.0 / (1.0 + std::exp(-x));
    case Activation::kSilu: return x / (1.0 + std::exp(-x));
    case Activation::kHardswish: return x * std::clamp(x + 3.0, 0.0, 6.0) / 6.0;
  }
  return x;
}

}  // namespace

void Activate(Activation kind, const float* x, float* y, int64_t count, int threads) {
  ParallelFor((count + kShare - 1) / kShare, threads, [&](int64_t share, int) {
    const int64_t end = std::min(count, (share + 1) * kShare);
    for (int64_t i = share * kShare; i < end; ++i) y[i] = static_cast<float>(Apply(kind, x[i]));
  });
}

void Softmax(int64_t outer, int64_t channels, int64_t inner, const float* x, float* y, int threads) {
  ParallelFor(outer, threads, [&](int64_t n, int) {
    for (int64_t i = 0; i < inner; ++i) {
      const float* in = x + n * channels * inner + i;
      float* out = y + n * channels * inner + i;
      double largest = in[0], sum = 0;
      for (int64_t c = 1; c < channels; ++c) largest = std::max<double>(largest, in[c * inner]);
      for (int64_t c = 0; c < channels; ++c) sum += std::exp(in[c * inner] - largest);
      for (int64_t c = 0; c < channels; ++c) out[c * inner] = static_cast<float>(std::exp(in[c * inner] - largest) / sum);
    }
  });
}

}  // namespace repfuse
