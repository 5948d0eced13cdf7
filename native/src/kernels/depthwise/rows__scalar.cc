// One tap of a depthwise filter, one value at a time (kept scalar, as gemm__scalar.cc).
#pragma GCC optimize("no-tree-vectorize")

#include "rows.h"

namespace repfuse {

void TapRow__scalar(float* y, const float* x, float w, size_t n, size_t stride) {
  for (size_t i = 0; i < n; ++i) y[i] += w * x[i * stride];
}

}  // namespace repfuse
