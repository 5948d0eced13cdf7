// Weights in the order in which a kernel reads them.
#pragma once

#include <vector>

#include "../kernels/blocked/winograd_tile.h"
#include "panels.h"
#include "repfuse/aligned_buffer.h"
#include "repfuse/engine.h"

namespace repfuse {

// kPairs and kTiles multiply bf16 terms: in vectors of pairs, and in matrix tiles.
// Of Winograd's the form is 2 x 2, 4 x 2 and 4 x 4.
enum class ConvMethod { kDirect, kWinograd2, kWinograd42, kWinograd4, kDepthwise, kPairs, kTiles, kFloat64 };

inline bool MultipliesTerms(ConvMethod method) { return method == ConvMethod::kPairs || method == ConvMethod::kTiles; }

inline bool IsWinograd(ConvMethod method) {
  return method == ConvMethod::kWinograd2 || method == ConvMethod::kWinograd42 || method == ConvMethod::kWinograd4;
}
inline WinogradForm WinogradFormOf(ConvMethod method) {
  return {method == ConvMethod::kWinograd2 ? 2 : 4, method == ConvMethod::kWinograd4 ? 4 : 2};
}

// Which order that is.
struct WeightPacking {
  ConvMethod method;
  bool planar;           // of a dense convolution: its input is
  int blocks;            // of output channels in a tile
  int terms = 0;         // of a weight; 0: float32
  int64_t row_taps = 1;  // neighbouring taps of a row whose inputs are one step of a tile

  bool operator==(const WeightPacking&) const = default;
};

struct PackedWeights {
  AlignedBuffer weight;
  AlignedBuffer bias;  // [out blocks][16], zeros where there is none
  std::vector<Panel> panels;
  // Of terms: that their sums are the plain weights.
  bool exact = true;

  size_t bytes() const { return weight.bytes() + bias.bytes(); }
};

// `plain` is OIHW. What lies outside a group is zero. False without memory. Direct:
// [panel][input block][kernel_h][kernel_w][16][blocks][16]; planar: [panel][input channel][kernel_h][kernel_w][blocks][16]; Winograd:
// [panel][value of the domain][input channel][blocks][16], transformed in float64 and rounded once; depthwise:
// [block][kernel_h][kernel_w][16]; float64: as they are. Of terms, in bf16, a step being the inputs of `row_taps` taps: [panel][input
// block][kernel_h][step of a row][term][pair of the step's inputs][blocks][16][2].
bool PackWeights(const NetworkNode& node, const float* plain, const ChannelGroups& channels, const WeightPacking& packing,
                 PackedWeights* out);
// What Winograd's weights, which are rounded, lack of the plain ones: differences to what they give back, in units of the last place, most
// of one byte. False without memory, or where they would not be much smaller than the plain ones.
bool RestOfWeights(const NetworkNode& node, const float* plain, const ChannelGroups& channels, const WeightPacking& packing,
                   const PackedWeights& packed, AlignedBuffer* rest);
// The plain weights of a packing that is exact; of Winograd's with their rest.
void UnpackWeights(const NetworkNode& node, const PackedWeights& packed, const ChannelGroups& channels, const WeightPacking& packing,
                   const AlignedBuffer& rest, float* plain);
// The sum of the first terms of every value in its place.
void RoundToTerms(float* values, int64_t count, int terms);

}  // namespace repfuse
