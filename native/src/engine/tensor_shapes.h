// Shapes of what works on tensors, and on images as on tensors.
#pragma once

#include <vector>

#include "shapes.h"

namespace repfuse {

// Of a kind from kActivation on. Fails where the inputs do not fit, or where images cannot be treated so.
Status ShapeOfTensor(const NetworkNode& node, const std::vector<Shape>& inputs, Form form, Shape* out);

// Numpy's rule: shapes meet from the right, a 1 spreads. False where they do not meet.
bool Broadcast(const Shape& a, const Shape& b, Shape* out);

// First element, step and number of the elements that a slice takes of an axis.
struct SliceRange {
  int64_t first, step, count;
};
SliceRange RangeOf(int64_t start, int64_t end, int64_t step, int64_t size);

// The options of a resizing, with the sizes that a second input tells.
ResizeOptions ResizeLike(const ResizeOptions& options, const Shape* like);

// Of a resized axis: sizes before and after, and how far a pixel there is apart from the next, in pixels of the result.
struct ResizedAxis {
  int64_t from, to;
  double scale;
};
ResizedAxis ResizedAxisOf(const ResizeOptions& options, int axis, int64_t height, int64_t width);
// How far from its place in the input a pixel of the result reads (not of the nearest mode), and how many pixels it reads at most.
double ResizeReach(const ResizeOptions& options, const ResizedAxis& sizes);
int64_t MostTaps(const ResizeOptions& options, const ResizedAxis& sizes);

}  // namespace repfuse
