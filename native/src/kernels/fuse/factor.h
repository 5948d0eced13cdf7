// The factors of a fuse task: their channels, sizes and values.
#pragma once

#include "../half/half.h"
#include "repfuse/fuse.h"

namespace repfuse::fuse {

// Channels [begin, end) of a map.
struct Span {
  int64_t begin = 0, end = 0;
  bool empty() const { return begin >= end; }
};

// Input channels that row `row` of the fused kernel covers.
Span RowChannels(const FuseTask& task, int64_t row);
// Channels on a factor's input side that the channels `out` of its output side reach.
Span Reach(const FuseFactor& factor, Span out);

inline int64_t Taps(const FuseFactor& f) { return f.kernel_h * f.kernel_w; }
inline int64_t RowSize(const FuseFactor& f) { return f.in_per_group * Taps(f); }
inline int64_t RowSize(const FuseTask& task) { return task.in_per_group * task.kernel_h * task.kernel_w; }

inline double ScaleAt(const FuseFactor& f, int64_t o) { return f.scale == nullptr ? 1.0 : f.scale[o]; }

// A value of the result, as the task wants it.
inline float Rounded(const FuseTask& task, double value) {
  return task.rounding == FuseRounding::kNearest ? static_cast<float>(value) : RoundToOdd(value);
}

// Calls body(read), where read(index) is the factor's value at an index of its array, widened.
template <typename Body>
void WithReader(const FuseFactor& f, const Body& body) {
  const auto* f32 = static_cast<const float*>(f.data);
  const auto* f64 = static_cast<const double*>(f.data);
  const auto* u16 = static_cast<const uint16_t*>(f.data);
  switch (f.type) {
    case FuseType::kConstant: return body([value = f.value](int64_t) { return value; });
    case FuseType::kF32: return body([f32](int64_t i) { return static_cast<double>(f32[i]); });
    case FuseType::kF64: return body([f64](int64_t i) { return f64[i]; });
    case FuseType::kF16: return body([u16](int64_t i) { return static_cast<double>(F16ToFloat(u16[i])); });
    case FuseType::kBf16: return body([u16](int64_t i) { return static_cast<double>(Bf16ToFloat(u16[i])); });
  }
}

}  // namespace repfuse::fuse
