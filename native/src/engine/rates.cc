#include "rates.h"

namespace repfuse {

// From `repfuse bench` on RepVGG-A0, B1 and MobileOne-S0: AMD EPYC with AVX-512, and forced to the lower levels.
const Rates& RatesOf(Isa isa) {
  static constexpr Rates kScalar{.direct = 2e9, .products = 2e9, .depthwise = 1.5e9, .transforms = 2e9, .weights = 10e9, .terms = {}};
  static constexpr Rates kAvx2{.direct = 52e9, .products = 50e9, .depthwise = 20e9, .transforms = 30e9, .weights = 20e9, .terms = {}};
  static constexpr Rates kAvx512{.direct = 105e9, .products = 100e9, .depthwise = 40e9, .transforms = 50e9, .weights = 20e9, .terms = {}};
  // vdpbf16ps: as many instructions a second, of two multiply-accumulates.
  static constexpr Rates kAvx512Bf16{
      .direct = 105e9, .products = 100e9, .depthwise = 40e9, .transforms = 50e9, .weights = 26e9, .terms = {205e9, 0, 0}};
  // Tiles: measured with a prototype of the same loop, on a Xeon whose multiply-add peak is that of the table.
  static constexpr Rates kAmx{
      .direct = 105e9, .products = 100e9, .depthwise = 40e9, .transforms = 50e9, .weights = 20e9, .terms = {950e9, 390e9, 195e9}};
  switch (isa) {
    case Isa::kAmx: return kAmx;
    case Isa::kAvx512Bf16: return kAvx512Bf16;
    case Isa::kAvx512: return kAvx512;
    case Isa::kAvx2: return kAvx2;
    case Isa::kScalar: break;
  }
  return kScalar;
}

}  // namespace repfuse
