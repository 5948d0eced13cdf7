// The shares of exp(x): once for the eager operator and for the engine's steps, which differ in where their numbers lie.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace repfuse {

// Of `count` numbers x(i), in float64, each rounded once into y(i), a reference. Less the largest, so that no exponential overflows.
template <typename From, typename To>
void Softmax(int64_t count, const From& x, const To& y) {
  double largest = x(0), sum = 0;
  for (int64_t i = 1; i < count; ++i) largest = std::max<double>(largest, x(i));
  for (int64_t i = 0; i < count; ++i) sum += std::exp(x(i) - largest);
  for (int64_t i = 0; i < count; ++i) y(i) = static_cast<float>(std::exp(x(i) - largest) / sum);
}

}  // namespace repfuse
