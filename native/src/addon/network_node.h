// A node of a network as a JavaScript object: {kind, name, activation, alpha, beta, weight | null, bias | null, outChannels, groups,
// kernel, stride, padding [top, left, bottom, right], dilation, ceilMode, countIncludePad, function, constantFirst, ints, padMode,
// padValue, resize}. What is left out stays as `NetworkNode` has it. resize: {mode, coordinates, nearest, aspect, excludeOutside,
// antialias, cubicA, extrapolation, scales, sizes, crop}.
#pragma once

#include <algorithm>
#include <array>
#include <string>

#include "arguments.h"
#include "repfuse/engine.h"

namespace repfuse::addon {

// Copies the tensors. `inputs` are left to the caller.
Status ReadNode(Arguments& arguments, NetworkNode* node);

// The choice whose place a word has among names. A word that is not among them is an error.
template <typename Choice, size_t kCount>
void ReadWord(Arguments& arguments, const char* name, const std::array<const char*, kCount>& names, Choice* out) {
  const std::string word = arguments.String(name);
  const auto found = std::find(names.begin(), names.end(), word);
  if (found == names.end()) arguments.Fail(name);
  else *out = static_cast<Choice>(found - names.begin());
}

}  // namespace repfuse::addon
