// Sums of each channel of a map over each of its rows, in float64: what makes the map takes them while a row is near, and its global
// average is made of them in the order of the rows, whichever thread took which.
#pragma once

#include <optional>

#include "step.h"

namespace repfuse {

// 16 sums for each row of each block of channels.
inline Layout RowSumsLayout(const Layout& map, int64_t rows) {
  constexpr int64_t kFloats = kBlock * static_cast<int64_t>(sizeof(double) / sizeof(float));
  return {.kind = Layout::Kind::kPlanar, .shape = {map.shape.batch, map.blocks(), rows, kFloats}};
}

// Those of one image from a row on.
class RowSums {
 public:
  RowSums() = default;
  // None where there is no value for them.
  RowSums(const RunState& run, const std::optional<Value>& value, int64_t n, int64_t row) {
    if (!value) return;
    at_ = reinterpret_cast<double*>(run.at(*value) + value->layout.at(n, 0, row, 0));
    block_ = value->layout.plane() / 2;
  }

  bool wanted() const { return at_ != nullptr; }
  double* of(int64_t block, int64_t row) const { return at_ + block * block_ + row * kBlock; }

 private:
  double* at_ = nullptr;
  int64_t block_ = 0;
};

}  // namespace repfuse
