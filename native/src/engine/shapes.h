// Shapes of a network's values.
#pragma once

#include <span>
#include <vector>

#include "layout.h"
#include "repfuse/network.h"
#include "repfuse/status.h"

namespace repfuse {

// Whether a node's numbers are in range (2^31 at most) and fit each other, whatever the input: nothing else may be reckoned with them
// before.
Status CheckNode(const NetworkNode& node);

// Of the inputs and of what every node makes, of at most 2^31 elements each. Fails naming the node (`where`) that does not fit.
Status InferShapes(const Network& network, std::span<const Shape> inputs, std::vector<Shape>* shapes, std::vector<ValueType>* types);

}  // namespace repfuse
