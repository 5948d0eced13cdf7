#include "step.h"

#include <cmath>
#include <limits>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace repfuse {

#if defined(__x86_64__)
namespace {
constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040;
}
FlushDenormals::FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | kFlushToZero | kDenormalsAreZero); }
FlushDenormals::~FlushDenormals() { _mm_setcsr(saved_); }
#else
FlushDenormals::FlushDenormals() : saved_(0) {}
FlushDenormals::~FlushDenormals() = default;
#endif

Function::Function(const NetworkNode& node, const KernelTable& kernels)
    : active_(node.activation.has_value()), activation_(node.activation.value_or(Activation::kRelu)), alpha_(node.alpha), beta_(node.beta) {
  switch (activation_) {
    case Activation::kRelu: kernel_ = kernels.relu; break;
    case Activation::kSigmoid: kernel_ = kernels.blocked.sigmoid; break;
    case Activation::kSilu: kernel_ = kernels.blocked.silu; break;
    case Activation::kHardswish: kernel_ = kernels.blocked.hardswish; break;
    case Activation::kClip:
    case Activation::kLeakyRelu:
    case Activation::kHardSigmoid:
    case Activation::kTanh: break;
  }
}

void Function::operator()(const float* x, float* y, size_t n) const {
  if (kernel_ != nullptr) return kernel_(x, y, n);
  switch (activation_) {
    case Activation::kClip:  // the upper bound wins where they cross; NaN stays
      for (size_t i = 0; i < n; ++i) {
        const float least = x[i] < alpha_ ? alpha_ : x[i];
        y[i] = least > beta_ ? beta_ : least;
      }
      return;
    case Activation::kLeakyRelu:
      for (size_t i = 0; i < n; ++i) y[i] = x[i] < 0 ? x[i] * alpha_ : x[i];
      return;
    case Activation::kHardSigmoid:  // in float64: near the line's zero the two terms cancel
      for (size_t i = 0; i < n; ++i) {
        const double line = static_cast<double>(x[i]) * alpha_ + beta_, least = line < 0 ? 0 : line;
        y[i] = static_cast<float>(least > 1 ? 1 : least);
      }
      return;
    case Activation::kTanh:
      for (size_t i = 0; i < n; ++i) y[i] = static_cast<float>(std::tanh(static_cast<double>(x[i])));
      return;
    default: return;
  }
}

Epilogue::Epilogue(const NetworkNode& node, const KernelTable& kernels)
    : low(-std::numeric_limits<float>::infinity()), high(std::numeric_limits<float>::infinity()) {
  if (node.activation == Activation::kRelu) low = 0;
  else if (node.activation == Activation::kClip && node.alpha <= node.beta) low = node.alpha, high = node.beta;
  else after = Function(node, kernels);
}

}  // namespace repfuse
