// What Winograd's algorithm loses, from the weights that it is to compute with.
#pragma once

#include <cstdint>

#include "repfuse/network.h"

namespace repfuse {

// How many times the rounding error of a direct convolution that of each form is expected to be. An error comes
// from the size of the sums in the domain, which follows from the kernels (their second moments, in the domain and out of it), and from
// what the way back makes of it; inputs count as independent, positive halves of normal ones, as behind a ReLU.
WinogradErrors ExpectWinogradErrors(const float* kernels, int64_t count);

}  // namespace repfuse
