// The one place that maps CPU -> kernels.
#include <atomic>

#include "../kernels/blocked/blocked.h"
#include "../kernels/conv/panel.h"
#include "../kernels/depthwise/rows.h"
#include "../kernels/elementwise/elementwise.h"
#include "../kernels/fuse/rows.h"
#include "../kernels/gemm/gemm.h"
#include "../kernels/probe/fma.h"
#include "../kernels/terms/terms.h"
#include "../kernels/tiles/matrix_tile.h"
#include "repfuse/kernels.h"

namespace repfuse {
namespace {

constexpr KernelTable kScalarTable = {
    .isa = Isa::kScalar,
    .gemm = {.name = "gemm-f32-4x4__scalar", .rows = 4, .columns = 4, .lanes = 4, .k_block = 256, .run = GemmTile__scalar},
    .dot = Dot__scalar,
    .pack_panel = PackPanel__scalar,
    .depthwise_rows = DepthwiseRows__scalar,
    .blocked = {.name = "blocked-f32-1x2__scalar",
                .most_blocks = 1,
                .most_pixels = {2},
                .conv = RunConvTile__scalar,
                .depthwise = RunDepthwiseTile__scalar,
                .depthwise_rows = 1,
                .winograd2 = {WinogradInput2__scalar, WinogradOutput2__scalar},
                .winograd4 = {WinogradInput4__scalar, WinogradOutput4__scalar},
                .finish = Finish__scalar,
                .sigmoid = Sigmoid__scalar,
                .silu = Silu__scalar,
                .hardswish = Hardswish__scalar},
    .terms = {SplitRow__scalar, SplitPlanes__scalar},
    .products = {},
    .fma_probe = FmaProbe__scalar,
    .fuse_scale = FuseScale__scalar,
    .fuse_accumulate = FuseAccumulate__scalar,
    .fuse_finish = FuseFinish__scalar,
    .fuse_patch = FusePatch__scalar,
    .fuse_scan = FuseScan__scalar,
    .fuse_products = FuseProducts__scalar,
    .relu = Relu__scalar,
    .add = Add__scalar,
};

#if defined(__x86_64__)
constexpr KernelTable kAvx2Table = {
    .isa = Isa::kAvx2,
    .gemm = {.name = "gemm-f32-6x16__avx2", .rows = 6, .columns = 16, .lanes = 8, .k_block = 256, .run = GemmTile__avx2},
    .dot = Dot__avx2,
    .pack_panel = PackPanel__avx2,
    .depthwise_rows = DepthwiseRows__avx2,
    .blocked = {.name = "blocked-f32-1x6__avx2",
                .most_blocks = 1,
                .most_pixels = {6},
                .conv = RunConvTile__avx2,
                .depthwise = RunDepthwiseTile__avx2,
                .depthwise_rows = 1,
                .winograd2 = {WinogradInput2__avx2, WinogradOutput2__avx2},
                .winograd4 = {WinogradInput4__avx2, WinogradOutput4__avx2},
                .finish = Finish__avx2,
                .sigmoid = Sigmoid__avx2,
                .silu = Silu__avx2,
                .hardswish = Hardswish__avx2},
    .terms = {SplitRow__scalar, SplitPlanes__scalar},
    .products = {},
    .fma_probe = FmaProbe__avx2,
    .fuse_scale = FuseScale__avx2,
    .fuse_accumulate = FuseAccumulate__avx2,
    .fuse_finish = FuseFinish__avx2,
    .fuse_patch = FusePatch__avx2,
    .fuse_scan = FuseScan__avx2,
    .fuse_products = FuseProducts__avx2,
    .relu = Relu__avx2,
    .add = Add__avx2,
};

constexpr KernelTable kAvx512Table = {
    .isa = Isa::kAvx512,
    .gemm = {.name = "gemm-f32-8x48__avx512", .rows = 8, .columns = 48, .lanes = 16, .k_block = 256, .run = GemmTile__avx512},
    .dot = Dot__avx512,
    .pack_panel = PackPanel__avx512,
    .depthwise_rows = DepthwiseRows__avx512,
    .blocked = {.name = "blocked-f32-2x14__avx512",
                .most_blocks = 4,
                .most_pixels = {14, 14, 9, 7},
                .conv = RunConvTile__avx512,
                .depthwise = RunDepthwiseTile__avx512,
                .depthwise_rows = 2,
                .winograd2 = {WinogradInput2__avx512, WinogradOutput2__avx512},
                .winograd4 = {WinogradInput4__avx512, WinogradOutput4__avx512},
                .finish = Finish__avx512,
                .sigmoid = Sigmoid__avx512,
                .silu = Silu__avx512,
                .hardswish = Hardswish__avx512},
    .terms = {SplitRow__avx512, SplitPlanes__avx512},
    .products = {},
    .fma_probe = FmaProbe__avx512,
    .fuse_scale = FuseScale__avx512,
    .fuse_accumulate = FuseAccumulate__avx512,
    .fuse_finish = FuseFinish__avx512,
    .fuse_patch = FusePatch__avx512,
    .fuse_scan = FuseScan__avx512,
    .fuse_products = FuseProducts__avx512,
    .relu = Relu__avx512,
    .add = Add__avx512,
};

// What a level adds to the one below.
constexpr KernelTable Avx512Bf16Table() {
  KernelTable table = kAvx512Table;
  table.isa = Isa::kAvx512Bf16;
  table.products = {.terms = 1, .tiles = {}, .pairs_name = "pairs-bf16-2x14__avx512bf16", .pairs = RunPairTile__avx512bf16};
  return table;
}
constexpr KernelTable AmxTable() {
  KernelTable table = Avx512Bf16Table();
  table.isa = Isa::kAmx;
  table.products.terms = 3;
  table.products.tiles = {"tiles-bf16-2x2__amx", ConfigureTiles__amx, RunMatrixTile__amx, ReleaseTiles__amx};
  return table;
}
constexpr KernelTable kAvx512Bf16Table = Avx512Bf16Table(), kAmxTable = AmxTable();
#endif

const KernelTable* TableFor(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAmx: return &kAmxTable;
    case Isa::kAvx512Bf16: return &kAvx512Bf16Table;
    case Isa::kAvx512: return &kAvx512Table;
    case Isa::kAvx2: return &kAvx2Table;
#endif
    default: return &kScalarTable;
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
