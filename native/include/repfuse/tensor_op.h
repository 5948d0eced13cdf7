// One operator over row-major tensors, outside an engine.
#pragma once

#include <span>

#include "repfuse/network.h"
#include "repfuse/shape.h"
#include "repfuse/status.h"

namespace repfuse {

struct TensorView {
  const float* data;
  Shape shape;
};

// Whether a node can be run so: those that work on tensors, or on tensors as on images.
bool IsTensorOp(const NetworkNode& node);
// Shape of the result. Fails where the inputs do not fit.
Status TensorOpShape(const NetworkNode& node, std::span<const TensorView> inputs, Shape* out);
// Denormals count as zero, as in an engine. Bit-equal for any number of threads.
Status RunTensorOp(const NetworkNode& node, std::span<const TensorView> inputs, std::span<float> out, int threads);

}  // namespace repfuse
