// What Winograd's algorithm loses, from the weights that it is to compute with.
#pragma once

#include <array>
#include <cstdint>

namespace repfuse {

// Of the forms 2 x 2, 4 x 2 and 4 x 4: how many times the rounding error of a direct convolution theirs is expected to be. An error comes
// from the size of the sums in the domain, which follows from the kernels (their second moments, in the domain and out of it), and from
// what the way back makes of it; inputs count as independent, positive halves of normal ones, as behind a ReLU.
std::array<double, 3> WinogradErrors(const float* kernels, int64_t count);

}  // namespace repfuse
