// One operator over row-major tensors, outside an engine.
#pragma once

#include <vector>

#include "repfuse/engine.h"

namespace repfuse {

struct TensorView {
  const float* data;
  Shape shape;
};

// Whether a kind can be run so: those that work on tensors, or on tensors as on images.
bool IsTensorOp(NodeKind kind);
// Shape of the result. Fails where the inputs do not fit.
Status TensorOpShape(const NetworkNode& node, const std::vector<TensorView>& inputs, Shape* out);
// Denormals count as zero, as in an engine. Bit-equal for any number of threads.
Status RunTensorOp(const NetworkNode& node, const std::vector<TensorView>& inputs, float* out, int threads);

}  // namespace repfuse
