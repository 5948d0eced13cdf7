// How a value lies in memory.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../kernels/blocked/conv_tile.h"
#include "repfuse/engine.h"

namespace repfuse {

// Channels of a block of bf16 terms, and of an interleaved pixel of few channels.
inline constexpr int64_t kTermBlock = 32, kTermPlanar = 4;

// The pixels of a map one after the other.
inline ImageShape OneRow(const ImageShape& map) { return {map.batch, map.channels, 1, map.height * map.width}; }

// Blocked: [batch][block][row][column][16]. Planar: [batch][channel][row][column], for images of few channels. Vectors: [block][batch][16],
// for maps of one pixel: the batch then takes the part of a row of pixels. Around each map lies a border of zeros that nobody writes to.
//
// The same as bf16 terms (src/kernels/terms/): one such map for each term, one after the other, of blocks of 32 channels (half of which a
// value may leave zero), planar ones of pixels of 4 channels. Distances are elements of float32: 32 channels of a term take the place
// of 16.
//
// Whole blocks of a value may be a value of their own in the same memory: what a slice takes, what a concatenation is made of.
struct Layout {
  enum class Kind { kBlocked, kPlanar, kVectors };

  Kind kind = Kind::kBlocked;
  ImageShape shape{};
  int64_t before = 0, after = 0;  // border: above and left, below and right
  int terms = 0;                  // 0: float32
  // Of what is part of the memory of a larger value: the block at which it begins, and the blocks of that value's images (0: it is no
  // part).
  int64_t first = 0, whole = 0;

  int64_t lanes() const {  // channels of a pixel of a plane
    if (kind == Kind::kPlanar) return terms == 0 ? 1 : kTermPlanar;
    return terms == 0 ? kBlock : kTermBlock;
  }
  int64_t blocks() const { return (shape.channels + kBlock - 1) / kBlock; }  // of 16 channels
  int64_t planes() const { return (shape.channels + lanes() - 1) / lanes(); }
  int64_t pixel() const { return terms == 0 ? lanes() : lanes() / 2; }
  // Elements from one row of pixels, plane, image, term to the next.
  int64_t row() const { return (kind == Kind::kVectors ? shape.batch : before + shape.width + after) * pixel(); }
  int64_t plane() const { return kind == Kind::kVectors ? row() : (before + shape.height + after) * row(); }
  int64_t image() const { return kind == Kind::kVectors ? pixel() : plane() * (whole > 0 ? whole : planes()); }
  int64_t term() const { return kind == Kind::kVectors ? plane() * planes() : image() * shape.batch; }
  // With what a tile may read beyond the last pixel, which becomes part of no result. Where they are checked, none of the distances above
  // wraps.
  int64_t elements() const { return terms == 0 ? term() : term() * terms + kReadAheadPixels * pixel(); }
  Checked checked_elements() const {
    const bool vectors = kind == Kind::kVectors;
    const Checked pixels = vectors ? Checked(1) : (Checked(before) + shape.height + after) * (Checked(before) + shape.width + after);
    const Checked whole = pixels * pixel() * planes() * shape.batch;
    return terms == 0 ? whole : whole * terms + kReadAheadPixels * pixel();
  }
  int64_t at(int64_t n, int64_t plane_index, int64_t y, int64_t x) const {
    return n * image() + (first + plane_index) * plane() + (before + y) * row() + (before + x) * pixel();
  }
  // A channel's first pixel of a row. Of float32 only.
  int64_t channel(int64_t n, int64_t c, int64_t y) const { return at(n, c / lanes(), y, 0) + c % lanes(); }
  // Elements from the first block of 16 channels to another.
  int64_t block(int64_t index) const { return terms == 0 ? index * plane() : index / 2 * plane() + index % 2 * pixel() / 2; }
  // The same memory as one image: vectors are then the pixels of one row. A window on them is of one pixel, and has no stride.
  Layout AsPixels() const {
    if (kind != Kind::kVectors) return *this;
    return {.kind = Kind::kBlocked, .shape = {1, shape.channels, 1, shape.batch}, .terms = terms, .first = first, .whole = whole};
  }
  // The same memory as maps of one row. Without borders only.
  Layout AsOneRow() const {
    Layout row = *this;
    row.shape = OneRow(shape);
    return row;
  }
  // Row-major, and whole.
  bool IsDense() const { return kind == Kind::kPlanar && before == 0 && after == 0 && terms == 0; }
  // Two values may lie in the same memory, one after the other, if their borders do, and the channels that nobody writes.
  bool SharesBorders(const Layout& other) const {
    if (IsDense() && other.IsDense()) return true;
    return kind == other.kind && shape.batch == other.shape.batch && shape.height == other.shape.height &&
           shape.width == other.shape.width && before == other.before && after == other.after && terms == other.terms &&
           (terms == 0 || shape.channels == other.shape.channels);
  }

  static constexpr int64_t kReadAheadPixels = 128;  // pixels
};

// Channels beyond the last one of a block stay 0: whatever else stood there would meet weights of 0, and NaN times 0 is NaN. `channels` of
// a pixel's `lanes` exist.
template <typename T>
void ClearPaddedChannels(T* row, int64_t pixels, int64_t channels, int64_t lanes) {
  if (channels >= lanes) return;
  for (int64_t x = 0; x < pixels; ++x) std::fill(row + x * lanes + channels, row + (x + 1) * lanes, T{});
}
// Of a row of a layout's plane.
inline void ClearPaddedChannels(const Layout& layout, int64_t plane, float* row) {
  ClearPaddedChannels(row, layout.shape.width, layout.shape.channels - plane * layout.lanes(), layout.lanes());
}

}  // namespace repfuse
