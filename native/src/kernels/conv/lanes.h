// Lanes of a vector that read inside the map; the others are padding, or belong to another row of outputs.
#pragma once

#include <algorithm>
#include <cstdint>

#include "repfuse/conv.h"

namespace repfuse {

struct LaneRange {
  int begin, end;
};

// Outputs [begin, end) along one axis whose tap reads inside the map: index i reads i * stride + offset.
struct OutputRange {
  int64_t begin, end;

  bool operator==(const OutputRange&) const = default;
  OutputRange(int64_t outputs, int64_t size, int64_t stride, int64_t offset)
      : begin(std::min(outputs, offset >= 0 ? 0 : (stride - 1 - offset) / stride)),
        end(offset >= size ? begin : std::clamp((size - 1 - offset) / stride + 1, begin, outputs)) {}

  // The part of outputs [first, first + count), counted from `first`.
  LaneRange Within(int64_t first, int64_t count) const {
    return {static_cast<int>(std::clamp<int64_t>(begin - first, 0, count)), static_cast<int>(std::clamp<int64_t>(end - first, 0, count))};
  }
};

}  // namespace repfuse
