// What a level does in a second on one thread: the committed table behind the choice of kernels. Only ratios matter to the choice.
#pragma once

#include "repfuse/cpu.h"

namespace repfuse {

struct Rates {
  double direct;    // multiply-accumulates of a direct convolution's tile that fills the registers
  double products;  // of the matrix products in Winograd's domain
  double depthwise;
  double transforms;  // bytes that Winograd's transforms read and write
  double weights;     // bytes of weights that come from beyond the caches
  double terms[3];    // multiply-accumulates of a direct convolution whose operands are split into 1, 2 or 3 terms
};

const Rates& RatesOf(Isa isa);

}  // namespace repfuse
