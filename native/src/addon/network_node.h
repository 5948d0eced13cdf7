// A node of a network as a JavaScript object: {kind, name, activation, alpha, beta, weight | null, bias | null, outChannels, groups, kernel, stride,
// padding [top, left, bottom, right], dilation, ceilMode, countIncludePad, function, constantFirst, ints, padMode, padValue, resize}. What is left out
// stays as `NetworkNode` has it. resize: {mode, coordinates, nearest, aspect, excludeOutside, antialias, cubicA, extrapolation, scales, sizes, crop}.
#pragma once

#include <array>
#include <string>

#include "arguments.h"
#include "repfuse/engine.h"

namespace repfuse::addon {

// Copies the tensors. `inputs` are left to the caller.
Status ReadNode(Arguments& arguments, NetworkNode* node);

// The place of a word among names, or -1.
template <size_t kCount>
int ChoiceOf(const std::array<const char*, kCount>& names, const Napi::Value& value) {
  const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
  for (size_t i = 0; i < kCount; ++i) {
    if (name == names[i]) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace repfuse::addon
