// What the checks and the pass of a fuse plan share.
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
Span RowChannels(const FusePlan& plan, int64_t row);
// Channels on a factor's input side that the channels `out` of its output side reach.
Span Reach(const FuseFactor& factor, Span out);

inline int64_t Taps(const FuseFactor& f) { return f.kernel_h * f.kernel_w; }
inline int64_t RowSize(const FuseFactor& f) { return f.in_per_group * Taps(f); }
inline int64_t RowSize(const FusePlan& plan) { return plan.in_per_group * plan.kernel_h * plan.kernel_w; }

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

// Every value that the factors and constants hold is finite: reads each and writes nothing. `may_overflow` is false when the
// largest values prove that no result can leave float32.
Status CheckValues(const FusePlan& plan, int threads, bool* may_overflow);

}  // namespace repfuse::fuse
