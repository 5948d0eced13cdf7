// The register tile of every convolution over channel blocks: a few pixels of a row times a few blocks of 16 output channels. Where the
// inputs of a tap lie is the caller's table, so that one kernel serves any size, stride, dilation and group, a stem that reads planes,
// and the products in Winograd's domain.
#pragma once

#include <cstdint>

namespace repfuse {

// Channels of a block: innermost in memory, on every level.
inline constexpr int64_t kBlock = 16;
// Blocks of output channels and pixels of the largest tiles.
inline constexpr int kMaxTileBlocks = 4, kMaxTilePixels = 14;

// Of bf16 the same, with a pair of bf16 values wherever an input or a weight is a float here, and so two channels for one.
struct ConvTile {
  const float* x;       // what the first pixel reads is at x + taps[...]
  const int64_t* taps;  // elements from x to the first input of each tap
  int64_t tap_count;
  int64_t chain;           // taps whose products are added one after the other before their sum joins that of those before
  int64_t channels;        // inputs of a tap, one after the other
  int64_t pixel;           // elements of x from one pixel to the next
  const float* weight;     // [tap][channel][blocks][16]
  int64_t weight_skip;     // elements after those of a tap, where it has more channels than are read
  float* y;                // pixels are neighbours: [block][pixel][16]
  int64_t y_block;         // elements of y from one block to the next
  const float* bias;       // [blocks][16] to begin a sum; null: add a part of it, summed by itself, to what y holds
  bool last;               // of the sum: then `residual` is added and the result clamped
  const float* residual;   // laid out as y, or null
  int64_t residual_block;  // elements of it from one block to the next
  float low, high;         // y = min(max(sum, low), high), NaN kept
  const char* prefetch;    // the weights to come, fetched evenly while this tile runs
  int64_t prefetch_lines;  // of 64 bytes, for each tap
};

}  // namespace repfuse
