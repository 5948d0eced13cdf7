// Shapes of every value of a network.
#pragma once

#include <vector>

#include "repfuse/engine.h"

namespace repfuse {

// shapes[0] is the input's. Fails where a node does not fit what it reads, naming the node by its index in `where`.
Status InferShapes(const Network& network, const ImageShape& input, std::vector<ImageShape>* shapes);

}  // namespace repfuse
