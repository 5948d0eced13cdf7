// A node of a network as a JavaScript object: {kind, name, activation, alpha, beta, follows, weight | null, bias | null, outChannels,
// groups, kernel, stride, padding [top, left, bottom, right], dilation, ceilMode, countIncludePad, function, constantFirst, ints, padMode,
// padValue, resize}. `kind`, `activation` and `function` are names of the engine's tables. What is left out stays as
// `NetworkNode` has it. resize: {mode, coordinates, nearest, aspect, excludeOutside,
// antialias, cubicA, extrapolation, scales, sizes, crop}. follows: a list of {activation, alpha, beta}, {sums: true} and {scale, shift}.
#pragma once

#include <algorithm>
#include <iterator>
#include <string>

#include "arguments.h"
#include "repfuse/network.h"
#include "repfuse/shape.h"

namespace repfuse::addon {

// A shape as a list of sizes, of elements that can be counted.
bool ReadShape(const Napi::Value& value, Shape* out);

// Copies the tensors. `inputs` are left to the caller.
Status ReadNode(Arguments& arguments, NetworkNode* node);

Napi::Value ShapeToJs(Napi::Env env, const Shape& shape);

// What a word of a table stands for. A word that is not there is an error that names the argument.
template <typename Value, size_t kCount>
void ReadWord(Arguments& arguments, const char* name, const Word<Value> (&words)[kCount], Value* out) {
  const std::string given = arguments.String(name);
  const auto* found = std::find_if(std::begin(words), std::end(words), [&](const Word<Value>& word) { return word.name == given; });
  if (found == std::end(words)) arguments.Fail(name);
  else *out = found->value;
}

}  // namespace repfuse::addon
