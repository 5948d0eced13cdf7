// The step of a convolution, as the memory plan has chosen it.
#pragma once

#include <memory>
#include <vector>

#include "memory_plan.h"
#include "packed_weights.h"
#include "step.h"

namespace repfuse {

using NodeWeights = std::vector<std::shared_ptr<const PackedWeights>>;  // of each node, packed as its choice wants them

// How a convolution's weights are to be packed.
WeightPacking WeightPackingOf(const Network& network, size_t i, const MemoryPlan& memory_plan);
// Null where the layouts are not what the method needs.
std::unique_ptr<Step> MakeConvStep(const Network& network, size_t i, const MemoryPlan& memory_plan, const NodeWeights& weights,
                                   const Target& target);
// Of a node that spreads the result of the convolution before it, which lies nowhere.
std::unique_ptr<Step> MakeSpreadStep(const Network& network, size_t i, const MemoryPlan& memory_plan, const NodeWeights& weights,
                                     const Target& target);
// Before it has run; with the convolution that is computed in the same step.
StepReport ReportOfConv(const Network& network, size_t i, const std::vector<Shape>& shapes, const MemoryPlan& memory_plan,
                        const NodeWeights& weights);
StepReport ReportOfSpread(const Network& network, size_t i, const std::vector<Shape>& shapes, const MemoryPlan& memory_plan,
                          const NodeWeights& weights);

}  // namespace repfuse
