// Sizes of a tensor of any rank.
#pragma once

#include <array>
#include <cstdint>

#include "repfuse/checked.h"

namespace repfuse {

inline constexpr int kMaxRank = 8;

struct Shape {
  int rank = 0;
  std::array<int64_t, kMaxRank> dims{};  // those from `rank` on stay 0

  static Shape Of(std::initializer_list<int64_t> sizes) {
    Shape shape;
    for (const int64_t size : sizes) shape.dims[static_cast<size_t>(shape.rank++)] = size;
    return shape;
  }
  int64_t& operator[](int axis) { return dims[static_cast<size_t>(axis)]; }
  int64_t operator[](int axis) const { return dims[static_cast<size_t>(axis)]; }
  // Elements of some axes, or of all; of a shape that comes from outside `checked_count` is asked first.
  int64_t count(int first, int end) const {
    int64_t product = 1;
    for (int axis = first; axis < end; ++axis) product *= (*this)[axis];
    return product;
  }
  int64_t count() const { return count(0, rank); }
  Checked checked_count() const {
    Checked product = 1;
    for (int axis = 0; axis < rank; ++axis) product *= (*this)[axis];
    return product;
  }
  bool operator==(const Shape&) const = default;
};

// [batch, channels, height, width]; [batch, features, 1, 1] for what is no image.
struct ImageShape {
  int64_t batch, channels, height, width;

  bool operator==(const ImageShape&) const = default;
};

// A tensor as images whose row-major order is its own: [N, C, H, W] and [N, features] as what they are.
inline ImageShape AsImages(const Shape& s) {
  switch (s.rank) {
    case 0: return {1, 1, 1, 1};
    case 1: return {1, 1, 1, s[0]};
    case 2: return {s[0], s[1], 1, 1};
    case 3: return {s[0], s[1], 1, s[2]};
    default: return {s[0], s[1], s.count(2, s.rank - 1), s[s.rank - 1]};
  }
}

}  // namespace repfuse
