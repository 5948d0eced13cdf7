// The one place that maps CPU -> kernels.
#include <atomic>

#include "../kernels/levels/levels.h"
#include "../kernels/tiles/matrix_tile.h"
#include "repfuse/kernels.h"

namespace repfuse {
namespace {

#if defined(__x86_64__)
// What a level adds to the one below.
KernelTable With(KernelTable table, Isa isa, const ProductKernels& products) {
  table.isa = isa;
  table.products = products;
  return table;
}
const KernelTable& Avx512Bf16Kernels() {
  static const KernelTable table = With(kAvx512Kernels, Isa::kAvx512Bf16, kAvx512Bf16Products);
  return table;
}
const KernelTable& AmxKernels() {
  static const KernelTable table = [] {
    ProductKernels products = kAvx512Bf16Products;
    products.terms = 3;
    products.tiles = {"tiles-bf16-2x2__amx", ConfigureTilesAmx, RunMatrixTileAmx, ReleaseTilesAmx};
    return With(kAvx512Kernels, Isa::kAmx, products);
  }();
  return table;
}
#endif

const KernelTable* TableFor(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAmx: return &AmxKernels();
    case Isa::kAvx512Bf16: return &Avx512Bf16Kernels();
    case Isa::kAvx512: return &kAvx512Kernels;
    case Isa::kAvx2: return &kAvx2Kernels;
#endif
    default: return &kScalarKernels;
  }
}

std::atomic<const KernelTable*> g_table{nullptr};

}  // namespace

const KernelTable& Kernels() {
  const KernelTable* table = g_table.load(std::memory_order_acquire);
  if (table == nullptr) {
    table = TableFor(BestIsa());
    const KernelTable* expected = nullptr;  // a concurrent SetIsa wins
    if (!g_table.compare_exchange_strong(expected, table)) table = expected;
  }
  return *table;
}

void SetKernels(const KernelTable& table) { g_table.store(&table, std::memory_order_release); }

bool SetIsa(Isa isa) {
  if (!IsaSupported(isa)) return false;
  g_table.store(TableFor(isa), std::memory_order_release);
  return true;
}

}  // namespace repfuse
