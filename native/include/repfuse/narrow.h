// Float32 and float64 values rounded once to half precision.
#pragma once

#include <cstdint>
#include <span>

namespace repfuse {

enum class HalfType { kF16, kBf16 };

struct NarrowStats {
  int64_t overflow = -1;  // index of the first finite value that is beyond the type's range, where it became an infinity
  int64_t flushed = 0;    // values other than 0 that became 0
};

// y[i] = x[i] for every element of x, to nearest, ties to even. Infinities and NaN stay what they are.
NarrowStats Narrow(HalfType type, std::span<const float> x, uint16_t* y, int threads);
NarrowStats Narrow(HalfType type, std::span<const double> x, uint16_t* y, int threads);

}  // namespace repfuse
