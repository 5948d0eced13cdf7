// Fully connected layers.
#pragma once

#include <cstdint>

#include "repfuse/status.h"

namespace repfuse {

struct LinearShape {
  int64_t rows, in_features, out_features;
};

// Sizes positive (rows may be 0), element counts that do not wrap.
Status CheckLinearShape(const LinearShape& shape);

// y[n, o] = relu?(sum over i of x[n, i] weight[o, i] + bias[o]). `bias` may be null. The result does not depend on `threads`.
Status Linear(const LinearShape& shape, const float* x, const float* weight, const float* bias, bool relu, float* y, int threads);

}  // namespace repfuse
