// Element-wise operators, one value at a time.
#include "elementwise.h"

namespace repfuse {

void Relu__scalar(const float* x, float* y, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] = x[i] < 0.0f ? 0.0f : x[i];  // written so that NaN passes through
}

void Add__scalar(const float* a, const float* b, float* y, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] = a[i] + b[i];
}

}  // namespace repfuse
