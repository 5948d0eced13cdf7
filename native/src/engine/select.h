// Which kernel computes a convolution.
#pragma once

#include <vector>

#include "layout.h"
#include "packed_weights.h"
#include "panels.h"
#include "rates.h"

namespace repfuse {

// What a network is compiled for.
struct Target {
  const EngineOptions& options;
  const KernelTable& kernels;
  int threads;
};

struct ConvChoice {
  ConvMethod method;
  TileSize tile;
  double estimate;       // seconds on one thread
  double bytes;          // of packed weights, and of what is kept beside them to have the plain ones back
  int terms = 0;         // of its operands; 0: float32
  int64_t row_taps = 1;  // as WeightPacking's
  double error = 1;      // rounding error expected, beside a direct convolution's in float32
};

// What is read: `as_terms` if it is made as terms anyway.
struct ConvInput {
  const Layout& layout;
  bool as_terms;
};

// The target's threads only decide the size of tiles.
ConvChoice ChooseConv(const NetworkNode& node, const ChannelGroups& channels, const ConvInput& input, const ImageShape& output,
                      const Target& target);
// All ways in which it can be computed, for the algorithm that the options ask for.
std::vector<ConvChoice> ConvChoices(const NetworkNode& node, const ChannelGroups& channels, const ConvInput& input,
                                    const ImageShape& output, const Target& target);
// The plain definition, which asks for nothing but the values themselves.
ConvChoice Plain(const NetworkNode& node);
// bf16 terms of an operand that a precision asks for; 0 where the level cannot multiply them.
int TermsOf(Precision precision, const KernelTable& kernels);

// Terms that a node's weights are rounded to for good; 0: they stay as they are, since float32 kernels may answer, or need them all.
int KeptTerms(const NetworkNode& node, const Target& target);

// Whether a method can compute it at all.
bool CanWinograd(const NetworkNode& node, const ChannelGroups& channels);
bool IsDepthwise(const ChannelGroups& channels);

}  // namespace repfuse
