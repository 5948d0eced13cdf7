// Size arithmetic that cannot wrap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace repfuse {

// Product of non-negative factors; false when it does not fit (or a factor is negative).
inline bool CheckedProduct(std::initializer_list<int64_t> factors, int64_t* out) {
  int64_t product = 1;
  for (int64_t f : factors) {
    if (f < 0 || __builtin_mul_overflow(product, f, &product)) return false;
  }
  *out = product;
  return true;
}

}  // namespace repfuse
