// Checks of a fuse plan: nothing here reads or writes a weight.
#include <algorithm>
#include <array>

#include "plan.h"
#include "repfuse/checked.h"

namespace repfuse::fuse {
namespace {

constexpr int64_t kMaxDim = int64_t{1} << 31;

bool InRange(int64_t value, int64_t low, int64_t high) { return value >= low && value <= high; }

// Whether one factor's own numbers are sane and its size in bytes is representable.
bool FactorOk(const FuseFactor& f) {
  int64_t size;
  return InRange(f.out_channels, 1, kMaxDim) && InRange(f.in_per_group, 1, kMaxDim) && InRange(f.kernel_h, 1, kMaxDim) &&
         InRange(f.kernel_w, 1, kMaxDim) && InRange(f.groups, 1, f.out_channels) && f.out_channels % f.groups == 0 &&
         InRange(f.out_begin, 0, kMaxDim) && InRange(f.in_begin, 0, kMaxDim) && InRange(f.step_h, 1, kMaxDim) &&
         InRange(f.step_w, 1, kMaxDim) && CheckedProduct({f.out_channels, f.in_per_group, f.kernel_h, f.kernel_w, 8}, &size) &&
         CheckedProduct({f.in_per_group, f.groups}, &size) && (f.data != nullptr || f.in_per_group == 1);
}

// Channels [begin, end) of the map on a factor's input side that [begin, end) of its output side reach; empty when none.
Span Reach(const FuseFactor& f, Span out) {
  const int64_t begin = std::max(out.begin, f.out_begin), end = std::min(out.end, f.out_begin + f.out_channels);
  if (begin >= end) return {0, 0};
  const int64_t per_group = f.out_channels / f.groups;
  const int64_t first = (begin - f.out_begin) / per_group, last = (end - 1 - f.out_begin) / per_group;
  return {f.in_begin + first * f.in_per_group, f.in_begin + (last + 1) * f.in_per_group};
}

struct Range {
  const char* begin;
  const char* end;
  bool Overlaps(const Range& other) const { return begin < other.end && other.begin < end; }
};

Range RangeOf(const void* data, int64_t bytes) { return {static_cast<const char*>(data), static_cast<const char*>(data) + bytes}; }

int64_t FactorBytes(const FuseFactor& f) { return f.out_channels * f.in_per_group * f.kernel_h * f.kernel_w * (f.is_f64 ? 8 : 4); }

}  // namespace

bool FusesInPlace(const FusePlan& plan, const FuseChain& chain) {
  const FuseFactor& f = chain.factors[0];
  if (f.data != plan.weight || f.is_f64 || f.out_begin != 0 || f.out_channels != plan.out_channels) return false;
  if (chain.factors.size() > 1) {  // its row is taken whole before the result's row is written
    return f.in_per_group * f.kernel_h * f.kernel_w == plan.in_per_group * plan.kernel_h * plan.kernel_w;
  }
  // Its row is read tile by tile, so every value must lie exactly where the result's value goes.
  return f.in_begin == 0 && f.groups == plan.groups && f.in_per_group == plan.in_per_group && f.kernel_h == plan.kernel_h &&
         f.kernel_w == plan.kernel_w && chain.origin_h == 0 && chain.origin_w == 0 && (f.kernel_h == 1 || f.step_h == 1) &&
         (f.kernel_w == 1 || f.step_w == 1);
}

Span RowChannels(const FusePlan& plan, int64_t row) {
  const int64_t begin = row / (plan.out_channels / plan.groups) * plan.in_per_group;
  return {begin, begin + plan.in_per_group};
}

Status CheckShapes(const FusePlan& plan) {
  int64_t size;
  if (!InRange(plan.out_channels, 1, kMaxDim) || !InRange(plan.in_per_group, 1, kMaxDim) || !InRange(plan.kernel_h, 1, kMaxDim) ||
      !InRange(plan.kernel_w, 1, kMaxDim) || !InRange(plan.groups, 1, plan.out_channels) || plan.out_channels % plan.groups != 0 ||
      !CheckedProduct({plan.out_channels, plan.in_per_group, plan.kernel_h, plan.kernel_w, 8}, &size) ||
      !CheckedProduct({plan.in_per_group, plan.groups}, &size)) {
    return {Code::kInvalidArgument, "shape of the fused kernel"};
  }
  long long index = 0;
  for (const FuseChain& chain : plan.chains) {
    if (chain.factors.empty()) return {Code::kInvalidArgument, "a chain without factors", index};
    int64_t last_h = chain.origin_h, last_w = chain.origin_w;
    if (last_h < 0 || last_w < 0) return {Code::kInvalidArgument, "origin of a chain", index};
    for (const FuseFactor& f : chain.factors) {
      int64_t reach_h, reach_w;
      if (!FactorOk(f)) return {Code::kInvalidArgument, "shape of a factor", index};
      if (!CheckedProduct({f.kernel_h - 1, f.step_h}, &reach_h) || !CheckedProduct({f.kernel_w - 1, f.step_w}, &reach_w) ||
          __builtin_add_overflow(last_h, reach_h, &last_h) || __builtin_add_overflow(last_w, reach_w, &last_w) ||
          last_h >= plan.kernel_h || last_w >= plan.kernel_w) {
        return {Code::kInvalidArgument, "a tap outside the fused kernel", index};
      }
      ++index;
    }
    const FuseFactor& first = chain.factors.front();
    if (first.out_begin + first.out_channels > plan.out_channels) return {Code::kInvalidArgument, "output channels of a chain", index - 1};
    for (int64_t row = first.out_begin; row < first.out_begin + first.out_channels; ++row) {
      Span span{row, row + 1};
      for (const FuseFactor& f : chain.factors) span = Reach(f, span);
      const Span allowed = RowChannels(plan, row);
      if (span.begin < span.end && (span.begin < allowed.begin || span.end > allowed.end)) {
        return {Code::kInvalidArgument, "input channels of a chain", index - 1};
      }
    }
  }
  for (const FuseBias& bias : plan.biases) {
    for (const FuseFactor& f : bias.factors) {
      if (!FactorOk(f)) return {Code::kInvalidArgument, "shape of a bias factor"};
    }
    if (bias.constant == nullptr || bias.begin < 0 || bias.count < 0 || bias.count > kMaxDim || bias.begin > kMaxDim) {
      return {Code::kInvalidArgument, "a bias constant"};
    }
    if (bias.factors.empty() && bias.begin + bias.count > plan.out_channels) return {Code::kInvalidArgument, "channels of a bias"};
  }
  return Ok();
}

Status CheckOverlap(const FusePlan& plan, bool* in_place) {
  *in_place = false;
  const int64_t row = plan.in_per_group * plan.kernel_h * plan.kernel_w;
  const std::array<Range, 2> outputs = {RangeOf(plan.weight, plan.out_channels * row * 4), RangeOf(plan.bias, plan.out_channels * 4)};
  const Status overlap = {Code::kInvalidArgument, "the result's buffer overlaps an operand"};
  if (outputs[0].Overlaps(outputs[1])) return overlap;
  const auto touches = [&](const void* data, int64_t bytes) {
    return data != nullptr && (outputs[0].Overlaps(RangeOf(data, bytes)) || outputs[1].Overlaps(RangeOf(data, bytes)));
  };
  const auto factor_touches = [&](const FuseFactor& f) {
    return touches(f.data, FactorBytes(f)) || touches(f.scale, f.out_channels * 8);
  };
  for (const FuseChain& chain : plan.chains) {
    for (size_t i = 0; i < chain.factors.size(); ++i) {
      if (!factor_touches(chain.factors[i])) continue;
      if (i > 0 || *in_place || !FusesInPlace(plan, chain)) return overlap;
      *in_place = true;
    }
  }
  for (const FuseBias& bias : plan.biases) {
    // Its factors may lie in the result's buffer: biases are taken before the first weight is written.
    if (touches(bias.constant, bias.count * 8)) return overlap;
  }
  return Ok();
}

}  // namespace repfuse::fuse

namespace repfuse {

Status CheckPlan(const FusePlan& plan) {
  const Status shapes = fuse::CheckShapes(plan);
  if (!shapes.ok()) return shapes;
  bool in_place;
  return fuse::CheckOverlap(plan, &in_place);
}

}  // namespace repfuse
