// Planes in row-major order, one after the other, as callers and tensors have them, to a layout and back.
#pragma once

#include "layout.h"

namespace repfuse {

void FromPlanes(const float* planes, const Layout& to, float* values, int threads);
void ToPlanes(const float* values, const Layout& in, float* planes, int threads);

}  // namespace repfuse
