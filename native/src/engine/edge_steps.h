// Where data enter and leave the engine's layout.
#pragma once

#include <memory>

#include "step.h"

namespace repfuse {

// The caller's input of that index to its value (of terms only if it is planar).
std::unique_ptr<Step> MakeIngest(const KernelTable& kernels, Value output, size_t index);
// A value to the caller's output of that index.
std::unique_ptr<Step> MakeDeliver(Value input, size_t index);
// A value of float32, in blocks of channels, as bf16 terms.
std::unique_ptr<Step> MakeSplit(Value input, const KernelTable& kernels, Value output);

}  // namespace repfuse
