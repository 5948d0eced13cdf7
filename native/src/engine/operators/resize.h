// A resized map as a term of a sum, as one step.
#pragma once

#include "operator.h"

namespace repfuse {

// Whether a node can add what another resizes, the value `resized`, as it is made.
bool CanTakeResized(const NetworkNode& sum, int resized);
// resized: of the node that resizes, whose own output, the value `made`, lies nowhere. sum: of the one that adds it.
std::unique_ptr<Step> MakeResizedSum(const StepParts& resized, int made, const StepParts& sum);

}  // namespace repfuse
