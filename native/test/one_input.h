// Arguments of an engine whose network has one input.
#pragma once

#include <array>
#include <span>

#include "repfuse/shape.h"

namespace repfuse {

inline std::array<Shape, 1> ShapesOf(const ImageShape& s) { return {Shape::Of({s.batch, s.channels, s.height, s.width})}; }
inline std::array<std::span<const float>, 1> InputsOf(std::span<const float> x) { return {x}; }

}  // namespace repfuse
