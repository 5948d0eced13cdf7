#include <algorithm>
#include <cmath>
#include <span>

#include "repfuse/elementwise.h"
#include "repfuse/kernels.h"
#include "repfuse/parallel.h"
#include "softmax.h"

namespace repfuse {
namespace {

constexpr int64_t kShare = 1 << 13;  // elements of one index of the loop

void ForShares(int64_t count, int threads, const std::function<void(int64_t begin, int64_t size)>& body) {
  ParallelFor((count + kShare - 1) / kShare, threads, [&](int64_t i, int) { body(i * kShare, std::min(kShare, count - i * kShare)); });
}

template <double (*kOf)(double)>
void Each(std::span<const float> x, float* y, int threads) {
  ForShares(static_cast<int64_t>(x.size()), threads, [&](int64_t begin, int64_t size) {
    for (int64_t i = begin; i < begin + size; ++i) y[i] = static_cast<float>(kOf(x[static_cast<size_t>(i)]));
  });
}

double SigmoidOf(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double SiluOf(double x) { return x / (1.0 + std::exp(-x)); }
double HardswishOf(double x) { return x * std::clamp(x + 3.0, 0.0, 6.0) / 6.0; }

}  // namespace

void Relu(std::span<const float> x, float* y, int threads) {
  const UnaryF32 relu = Kernels().relu;
  ForShares(static_cast<int64_t>(x.size()), threads,
            [&](int64_t begin, int64_t size) { relu(x.data() + begin, y + begin, static_cast<size_t>(size)); });
}
void Sigmoid(std::span<const float> x, float* y, int threads) { Each<SigmoidOf>(x, y, threads); }
void Silu(std::span<const float> x, float* y, int threads) { Each<SiluOf>(x, y, threads); }
void Hardswish(std::span<const float> x, float* y, int threads) { Each<HardswishOf>(x, y, threads); }

void Add(std::span<const float> a, std::span<const float> b, float* y, int threads) {
  const BinaryF32 add = Kernels().add;
  ForShares(static_cast<int64_t>(a.size()), threads,
            [&](int64_t begin, int64_t size) { add(a.data() + begin, b.data() + begin, y + begin, static_cast<size_t>(size)); });
}

void Softmax(int64_t outer, int64_t channels, int64_t inner, const float* x, float* y, int threads) {
  ParallelFor(outer, threads, [&](int64_t n, int) {
    for (int64_t i = 0; i < inner; ++i) {
      const float* in = x + n * channels * inner + i;
      float* out = y + n * channels * inner + i;
      Softmax(
          channels, [&](int64_t c) { return static_cast<double>(in[c * inner]); }, [&](int64_t c) -> float& { return out[c * inner]; });
    }
  });
}

}  // namespace repfuse
