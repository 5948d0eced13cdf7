// The kernels of each level: one table, made in a file of its own from the texts over its vocabulary (src/simd/).
#pragma once

#include "repfuse/kernels.h"

namespace repfuse {

extern const KernelTable kScalarKernels;
#if defined(__x86_64__)
extern const KernelTable kAvx2Kernels, kAvx512Kernels;
// What avx512bf16 adds to avx512.
extern const ProductKernels kAvx512Bf16Products;
#endif

}  // namespace repfuse
