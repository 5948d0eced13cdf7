#include "emulated_tiles.h"

#include <array>
#include <cstdlib>
#include <cstring>

#include "../src/kernels/half/half.h"
#include "../src/kernels/tiles/matrix_tile.h"

namespace repfuse {
namespace {

struct Tile {
  int rows = 0, row_bytes = 0;
  alignas(64) uint8_t bytes[16][64] = {};
};
thread_local std::array<Tile, 8> g_tiles;
thread_local bool g_configured = false;

// Using a tile that has not been configured kills a process on the real processor.
Tile& Use(int index) {
  if (!g_configured) std::abort();
  return g_tiles[static_cast<size_t>(index)];
}

template <int kTile>
void LoadTile(const void* from, int64_t stride) {
  Tile& tile = Use(kTile);
  for (int row = 0; row < tile.rows; ++row)
    std::memcpy(tile.bytes[row], static_cast<const uint8_t*>(from) + row * stride, static_cast<size_t>(tile.row_bytes));
}
template <int kTile>
void StoreTile(void* to, int64_t stride) {
  const Tile& tile = Use(kTile);
  for (int row = 0; row < tile.rows; ++row)
    std::memcpy(static_cast<uint8_t*>(to) + row * stride, tile.bytes[row], static_cast<size_t>(tile.row_bytes));
}

// Row by row, as the manual does; a product of two bf16 values is exact in float32. The processor also flushes denormals, as the engine's
// threads do.
template <int kSums, int kInputs, int kWeights>
void MultiplyTiles() {
  Tile &sums = Use(kSums), &inputs = Use(kInputs), &weights = Use(kWeights);
  if (sums.rows != inputs.rows || inputs.row_bytes != 4 * weights.rows || sums.row_bytes != weights.row_bytes) std::abort();
  float even_weights[16][16], odd_weights[16][16];
  const auto value = [](const Tile& tile, int row, int column) {
    uint16_t bits;
    std::memcpy(&bits, tile.bytes[row] + 2 * column, sizeof bits);
    return Bf16ToFloat(bits);
  };
  for (int k = 0; k < weights.rows; ++k) {
    for (int n = 0; n < 16; ++n) {
      even_weights[k][n] = value(weights, k, 2 * n);
      odd_weights[k][n] = value(weights, k, 2 * n + 1);
    }
  }
  for (int m = 0; m < sums.rows; ++m) {
    float even[16] = {}, odd[16] = {}, row[16];
    for (int k = 0; k < weights.rows; ++k) {
      const float even_input = value(inputs, m, 2 * k), odd_input = value(inputs, m, 2 * k + 1);
      for (int n = 0; n < 16; ++n) {
        even[n] += even_input * even_weights[k][n];
        odd[n] += odd_input * odd_weights[k][n];
      }
    }
    std::memcpy(row, sums.bytes[m], sizeof row);
    for (int n = 0; n < 16; ++n) row[n] += even[n] + odd[n];
    std::memcpy(sums.bytes[m], row, sizeof row);
  }
}

#include "../src/kernels/tiles/matrix_tile.inc"

void Configure(int pixels, int pairs) {
  for (int i = 0; i < 8; ++i) {
    Tile tile;
    tile.rows = i >= 6 ? pairs : pixels;
    tile.row_bytes = i == 4 || i == 5 ? 4 * pairs : 64;
    g_tiles[static_cast<size_t>(i)] = tile;
  }
  g_configured = true;
}
void Run(const MatrixTile& tile, int rows, int blocks, int terms) { kTileRuns[rows - 1][blocks - 1][terms - 1](tile); }
void Release() { g_configured = false; }

}  // namespace

const KernelTable& EmulatedAmxTable() {
  static const KernelTable table = [] {
    SetIsa(BestIsa());
    KernelTable best = Kernels();
    best.isa = Isa::kAmx;
    best.products = {.terms = 3, .tiles = {"tiles-bf16-2x2__emulated", Configure, Run, Release}, .pairs_name = nullptr, .pairs = nullptr};
    return best;
  }();
  return table;
}

}  // namespace repfuse
