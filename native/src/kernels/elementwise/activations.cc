#include <algorithm>
#include <cmath>

#include "repfuse/elementwise.h"
#include "repfuse/kernels.h"
#include "repfuse/parallel.h"

namespace repfuse {
namespace {

constexpr int64_t kShare = 1 << 13;  // elements of one index of the loop

void ForShares(int64_t count, int threads, const std::function<void(int64_t begin, int64_t size)>& body) {
  ParallelFor((count + kShare - 1) / kShare, threads, [&](int64_t i, int) { body(i * kShare, std::min(kShare, count - i * kShare)); });
}

double Apply(Activation kind, double x) {
  switch (kind) {
    case Activation::kRelu:  // has kernels of its own
    case Activation::kClip:
    case Activation::kLeakyRelu:
    case Activation::kHardSigmoid:
    case Activation::kTanh: break;  // take parameters, see engine/step.h
    case Activation::kSigmoid: return 1.0 / (1.0 + std::exp(-x));
    case Activation::kSilu: return x / (1.0 + std::exp(-x));
    case Activation::kHardswish: return x * std::clamp(x + 3.0, 0.0, 6.0) / 6.0;
  }
  return x;
}

}  // namespace

void Activate(Activation kind, const float* x, float* y, int64_t count, int threads) {
  const UnaryF32 relu = Kernels().relu;
  ForShares(count, threads, [&](int64_t begin, int64_t size) {
    if (kind == Activation::kRelu) return relu(x + begin, y + begin, static_cast<size_t>(size));
    for (int64_t i = begin; i < begin + size; ++i) y[i] = static_cast<float>(Apply(kind, x[i]));
  });
}

void Add(const float* a, const float* b, float* y, int64_t count, int threads) {
  const BinaryF32 add = Kernels().add;
  ForShares(count, threads, [&](int64_t begin, int64_t size) { add(a + begin, b + begin, y + begin, static_cast<size_t>(size)); });
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
