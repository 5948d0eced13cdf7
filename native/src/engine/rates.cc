#include "rates.h"

namespace repfuse {

// From `repfuse bench` on RepVGG-A0, B1 and MobileOne-S0: AMD EPYC with AVX-512, and forced to the lower levels.
const Rates& RatesOf(Isa isa) {
  static constexpr Rates kScalar{.direct = 2e9, .products = 2e9, .depthwise = 1.5e9, .transforms = 2e9, .weights = 10e9};
  static constexpr Rates kAvx2{.direct = 52e9, .products = 50e9, .depthwise = 20e9, .transforms = 30e9, .weights = 20e9};
  static constexpr Rates kAvx512{.direct = 105e9, .products = 100e9, .depthwise = 40e9, .transforms = 50e9, .weights = 20e9};
  switch (isa) {
    case Isa::kAvx512: return kAvx512;
    case Isa::kAvx2: return kAvx2;
    case Isa::kScalar: break;
  }
  return kScalar;
}

}  // namespace repfuse
