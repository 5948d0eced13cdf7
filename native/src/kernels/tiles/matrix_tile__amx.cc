// The processor's tiles, by assembly: g++ 12's _tile_loadconfig says that it reads 8 bytes of the 64, and the stores of the others are
// dropped.
#include "matrix_tile.h"

#if defined(__x86_64__)

namespace repfuse {
namespace {

template <int kTile>
inline void LoadTile(const void* from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
inline void StoreTile(void* to, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(kTile) : "memory");
}
// sums += inputs * weights: AT&T order.
template <int kSums, int kInputs, int kWeights>
inline void MultiplyTiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kInputs), "i"(kWeights));
}

#include "matrix_tile.inc"

// The operand of ldtilecfg, palette 1.
struct alignas(64) TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == 64);

}  // namespace

void ConfigureTilesAmx(int pixels, int pairs) {
  TileConfig config{};
  config.palette = 1;
  for (int tile = 0; tile < 8; ++tile) {
    const bool inputs = tile == 4 || tile == 5, weights = tile >= 6;
    config.row_bytes[tile] = static_cast<uint16_t>(inputs ? 4 * pairs : 64);
    config.rows[tile] = static_cast<uint8_t>(weights ? pairs : pixels);
  }
  asm volatile("ldtilecfg %0" ::"m"(config) : "memory");
}

void RunMatrixTileAmx(const MatrixTile& tile, int rows, int blocks, int terms) { kTileRuns[rows - 1][blocks - 1][terms - 1](tile); }

void ReleaseTilesAmx() { asm volatile("tilerelease" ::: "memory"); }

}  // namespace repfuse

#endif
