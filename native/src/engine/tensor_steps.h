// Steps over tensors in row-major order.
#pragma once

#include <memory>
#include <vector>

#include "step.h"

namespace repfuse {

struct TensorValue {
  Value value;
  Shape shape;
};

// Of kinds that make tensors, and of those that make what their inputs are where these are tensors; null for the kinds in image_steps.h.
std::unique_ptr<Step> MakeTensorStep(const NetworkNode& node, const std::vector<TensorValue>& inputs, const KernelTable& kernels,
                                     TensorValue output);

}  // namespace repfuse
