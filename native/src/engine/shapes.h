// Shapes of a network's values.
#pragma once

#include <vector>

#include "repfuse/engine.h"

namespace repfuse {

// How a value lies: images in the engine's own layout, tensors row-major.
enum class Form { kImages, kTensor };

// Of the input and of what every node makes. Fails naming the node (`where`) that does not fit.
Status InferShapes(const Network& network, const ImageShape& input, std::vector<Shape>* shapes, std::vector<Form>* forms);

}  // namespace repfuse
