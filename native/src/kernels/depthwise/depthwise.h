// Filters over one input channel each (in_channels / groups == 1, any channel multiplier).
#pragma once

#include "repfuse/conv.h"

namespace repfuse {

void DepthwiseConv2d(const ConvShape& shape, const float* x, const float* weight, const float* bias, bool relu, float* y, int threads);

}  // namespace repfuse
