#include "step.h"

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

Epilogue::Epilogue(const std::optional<Activation>& activation, const BlockedKernels& kernels)
    : low(-std::numeric_limits<float>::infinity()), high(std::numeric_limits<float>::infinity()), after(nullptr) {
  if (!activation) return;
  switch (*activation) {
    case Activation::kRelu: low = 0; break;
    case Activation::kSigmoid: after = kernels.sigmoid; break;
    case Activation::kSilu: after = kernels.silu; break;
    case Activation::kHardswish: after = kernels.hardswish; break;
  }
}

}  // namespace repfuse
