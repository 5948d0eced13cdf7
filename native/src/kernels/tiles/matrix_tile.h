// Convolution by matrix tiles (AMX): the terms of two rows of up to 16 pixels times those of two blocks of 16 output channels. Where the
// inputs of a step lie is the caller's table, so that pixels are read where they are (implicit im2col): a tile's row is one pixel's
// channels.
#pragma once

#include <cstdint>

namespace repfuse {

// Pixels of a tile, and pairs of bf16 inputs of a step, at most.
inline constexpr int kMaxMatrixPixels = 16, kMaxMatrixPairs = 16;
// Elements of the sums of one tile: [pixel][16].
inline constexpr int64_t kMatrixSums = 256;

struct MatrixTile {
  const uint16_t* x[2];  // of each row of pixels: what the first pixel reads is at x + steps[...]
  int64_t x_term;        // elements from one term to the next
  int64_t pixel;         // bytes from one pixel to the next
  const int64_t* steps;  // elements from x to the first input of each step
  int64_t step_count;
  const uint16_t* weight;  // [step][term][pair][blocks][16][2]
  int64_t weight_term;     // elements from one term to the next
  float* sums;             // [row of pixels][block][16][16]
  const float* bias;       // [blocks][16] to begin a sum; null: go on from `sums`
  const char* prefetch;    // the weights to come, fetched evenly while this tile runs
  int64_t prefetch_lines;  // of 64 bytes, for each step
};

// The products that are summed for each number of terms, [][2] = {of x, of the weight}: those above 2^-25 of the largest with three terms
// (six products), 2^-16 with two (three products). Neighbours share an operand, which then stays in its tile.
inline constexpr int kProductCounts[] = {1, 3, 6};

#if defined(__x86_64__)
// Tiles for `pixels` pixels and `pairs` pairs of inputs a step, of the calling thread, until they are released.
void ConfigureTilesAmx(int pixels, int pairs);
// rows of pixels: 1 or 2; blocks: 1 or 2; terms: 1 to 3.
void RunMatrixTileAmx(const MatrixTile& tile, int rows, int blocks, int terms);
void ReleaseTilesAmx();
#endif

}  // namespace repfuse
