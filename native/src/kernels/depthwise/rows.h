// y[i] += w * x[i * stride]: one tap of a depthwise filter over one output row.
#pragma once

#include <cstddef>

namespace repfuse {

void TapRow__scalar(float* y, const float* x, float w, size_t n, size_t stride);
#if defined(__x86_64__)
void TapRow__avx2(float* y, const float* x, float w, size_t n, size_t stride);
void TapRow__avx512(float* y, const float* x, float w, size_t n, size_t stride);
#endif

}  // namespace repfuse
