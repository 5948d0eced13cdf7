// Row-major order over a result, and where its operands' elements lie meanwhile.
#pragma once

#include <algorithm>
#include <array>

#include "repfuse/shape.h"
#include "step.h"

namespace repfuse {

using Strides = std::array<int64_t, kMaxRank>;  // elements

inline Strides DenseStrides(const Shape& shape) {
  Strides strides{};
  int64_t stride = 1;
  for (int axis = shape.rank - 1; axis >= 0; stride *= shape[axis--]) strides[static_cast<size_t>(axis)] = stride;
  return strides;
}

// Of an operand that is broadcast to a result: 0 where it has one element for all.
inline Strides BroadcastStrides(const Shape& operand, const Shape& result) {
  const Strides dense = DenseStrides(operand);
  Strides strides{};
  for (int axis = 0; axis < operand.rank; ++axis) {
    const int place = result.rank - operand.rank + axis;
    if (operand[axis] > 1) strides[static_cast<size_t>(place)] = dense[static_cast<size_t>(axis)];
  }
  return strides;
}

// Numpy's rule: shapes meet from the right, a 1 spreads. False where they do not meet.
inline bool Broadcast(const Shape& a, const Shape& b, Shape* out) {
  *out = {};
  out->rank = std::max(a.rank, b.rank);
  for (int axis = 0; axis < out->rank; ++axis) {
    const int in_a = axis - (out->rank - a.rank), in_b = axis - (out->rank - b.rank);
    const int64_t of_a = in_a < 0 ? 1 : a[in_a], of_b = in_b < 0 ? 1 : b[in_b];
    if (of_a != of_b && of_a != 1 && of_b != 1) return false;
    (*out)[axis] = of_a == 1 ? of_b : of_a;
  }
  return true;
}

template <size_t kOperands>
class Walk {
 public:
  Walk(const Shape& result, const std::array<Strides, kOperands>& strides) {
    for (int axis = 0; axis < result.rank; ++axis) {
      if (result[axis] != 1) Append(result[axis], strides, static_cast<size_t>(axis));
    }
    if (dims_.rank == 0) dims_.rank = static_cast<int>(dims_[0] = 1);
  }

  // body(index of the first element, index of it in each operand, number of elements, their distance in each operand), row by row.
  template <typename Body>
  void ForRows(int threads, const Body& body) const {
    const int inner = dims_.rank - 1;
    const int64_t rows = dims_.count(0, inner), length = dims_[inner];
    std::array<int64_t, kOperands> step;
    for (size_t k = 0; k < kOperands; ++k) step[k] = strides_[k][static_cast<size_t>(inner)];
    const int64_t share = std::max<int64_t>(1, kShare / length);
    ForEach((rows + share - 1) / share, threads, [&](int64_t index, int) {
      const int64_t first = index * share, end = std::min(rows, first + share);
      std::array<int64_t, kMaxRank> at{};
      std::array<int64_t, kOperands> offset{};
      int64_t rest = first;
      for (int axis = inner - 1; axis >= 0; rest /= dims_[axis--]) {
        at[static_cast<size_t>(axis)] = rest % dims_[axis];
        for (size_t k = 0; k < kOperands; ++k) offset[k] += at[static_cast<size_t>(axis)] * strides_[k][static_cast<size_t>(axis)];
      }
      for (int64_t row = first; row < end; ++row) {
        body(row * length, offset, length, step);
        for (int axis = inner - 1; axis >= 0; --axis) {  // the next row
          const size_t i = static_cast<size_t>(axis);
          for (size_t k = 0; k < kOperands; ++k) offset[k] += strides_[k][i];
          if (++at[i] < dims_[axis]) break;
          for (size_t k = 0; k < kOperands; ++k) offset[k] -= at[i] * strides_[k][i];
          at[i] = 0;
        }
      }
    });
  }

 private:
  static constexpr int64_t kShare = 1 << 12;  // elements

  // Axes that follow each other in every operand are one.
  void Append(int64_t size, const std::array<Strides, kOperands>& strides, size_t axis) {
    const size_t last = static_cast<size_t>(dims_.rank) - 1;
    bool joins = dims_.rank > 0;
    for (size_t k = 0; k < kOperands && joins; ++k) joins = strides_[k][last] == strides[k][axis] * size;
    const size_t place = joins ? last : static_cast<size_t>(dims_.rank++);
    dims_.dims[place] = joins ? dims_.dims[place] * size : size;
    for (size_t k = 0; k < kOperands; ++k) strides_[k][place] = strides[k][axis];
  }

  Shape dims_;
  std::array<Strides, kOperands> strides_{};
};

}  // namespace repfuse
