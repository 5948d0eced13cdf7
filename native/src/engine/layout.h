// How a value lies in memory.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../kernels/blocked/conv_tile.h"
#include "repfuse/engine.h"

namespace repfuse {

// Blocked: [batch][block][row][column][16]. Planar: [batch][channel][row][column], for images of few channels. Vectors: [block][batch][16],
// for maps of one pixel: the batch then takes the part of a row of pixels. Around each map lies a border of zeros that nobody writes to.
struct Layout {
  enum class Form { kBlocked, kPlanar, kVectors };

  Form form = Form::kBlocked;
  ImageShape shape{};
  int64_t before = 0, after = 0;  // border: above and left, below and right

  int64_t blocks() const { return (shape.channels + kBlock - 1) / kBlock; }
  int64_t planes() const { return form == Form::kPlanar ? shape.channels : blocks(); }
  int64_t pixel() const { return form == Form::kPlanar ? 1 : kBlock; }
  // Elements from one row of pixels, plane, image to the next.
  int64_t row() const { return (form == Form::kVectors ? shape.batch : before + shape.width + after) * pixel(); }
  int64_t plane() const { return form == Form::kVectors ? row() : (before + shape.height + after) * row(); }
  int64_t image() const { return form == Form::kVectors ? kBlock : plane() * planes(); }
  int64_t elements() const { return form == Form::kVectors ? plane() * planes() : image() * shape.batch; }
  int64_t at(int64_t n, int64_t plane_index, int64_t y, int64_t x) const {
    return n * image() + plane_index * plane() + (before + y) * row() + (before + x) * pixel();
  }
  // The same memory as one image: vectors are then the pixels of one row.
  Layout AsPixels() const {
    if (form != Form::kVectors) return *this;
    return {.form = Form::kBlocked, .shape = {1, shape.channels, 1, shape.batch}};
  }
  // Two values may lie in the same memory, one after the other, if their borders do.
  bool SharesBorders(const Layout& other) const {
    return form == other.form && shape.batch == other.shape.batch && shape.height == other.shape.height && shape.width == other.shape.width &&
           before == other.before && after == other.after;
  }
};

}  // namespace repfuse
