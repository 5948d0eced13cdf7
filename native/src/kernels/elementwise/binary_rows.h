// A function of two numbers, row by row.
#pragma once

#include <cstdint>

namespace repfuse {

// Numbers y = f(a, b), one after the other in y, and how far an operand's lie apart (0: one for all).
struct BinaryRows {
  const float *a, *b;
  float* y;
  int64_t outer, inner;
  int64_t a_outer, b_outer, a_inner, b_inner;
};

}  // namespace repfuse
