#pragma once

#include <cstddef>

namespace repfuse {

void Relu__scalar(const float* x, float* y, size_t n);
void Add__scalar(const float* a, const float* b, float* y, size_t n);
#if defined(__x86_64__)
void Relu__avx2(const float* x, float* y, size_t n);
void Add__avx2(const float* a, const float* b, float* y, size_t n);
void Relu__avx512(const float* x, float* y, size_t n);
void Add__avx512(const float* a, const float* b, float* y, size_t n);
#endif

}  // namespace repfuse
