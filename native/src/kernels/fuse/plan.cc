// Checks of a fuse plan: nothing here reads or writes a weight.
#include "plan.h"

#include <algorithm>

#include "repfuse/checked.h"

namespace repfuse::fuse {
namespace {

constexpr int64_t kMaxDim = int64_t{1} << 31;

bool InRange(int64_t value, int64_t low, int64_t high) { return value >= low && value <= high; }

// Whether an OIHW shape is sane and its size in bytes is representable.
bool ShapeOk(int64_t out_channels, int64_t in_per_group, int64_t kernel_h, int64_t kernel_w, int64_t groups) {
  int64_t product;
  return InRange(out_channels, 1, kMaxDim) && InRange(in_per_group, 1, kMaxDim) && InRange(kernel_h, 1, kMaxDim) &&
         InRange(kernel_w, 1, kMaxDim) && InRange(groups, 1, out_channels) && out_channels % groups == 0 &&
         CheckedProduct({out_channels, in_per_group, kernel_h, kernel_w, 8}, &product) && product < INT64_MAX / 4 &&
         CheckedProduct({in_per_group, groups}, &product) && product <= kMaxDim;
}

bool FactorOk(const FuseFactor& f) {
  return ShapeOk(f.out_channels, f.in_per_group, f.kernel_h, f.kernel_w, f.groups) && InRange(f.out_begin, 0, kMaxDim) &&
         InRange(f.in_begin, 0, kMaxDim) && InRange(f.step_h, 1, kMaxDim) && InRange(f.step_w, 1, kMaxDim) &&
         (f.type == FuseType::kConstant ? f.in_per_group == 1 : f.data != nullptr);
}

bool FactorsOk(const FusePlan& plan, const std::vector<size_t>& indices) {
  return std::all_of(indices.begin(), indices.end(), [&](size_t i) { return i < plan.factors.size(); });
}

// Whether the taps of the chain stay inside the fused kernel, along one axis.
bool AxisOk(const FusePlan& plan, const FuseChain& chain, int64_t origin, int64_t size, int64_t FuseFactor::*kernel,
            int64_t FuseFactor::*step) {
  if (!InRange(origin, 0, size - 1)) return false;
  int64_t last = origin;
  for (size_t i : chain.factors) {
    const FuseFactor& f = plan.factors[i];
    last += (f.*kernel - 1) * (f.*step);  // each product is at most 2^62, and `last` is below 2^31
    if (last >= size) return false;
  }
  return true;
}

Status CheckChain(const FusePlan& plan, const FuseChain& chain, long long index) {
  if (chain.factors.empty() || !FactorsOk(plan, chain.factors)) return {Code::kInvalidArgument, "factors of a chain", index};
  if (!AxisOk(plan, chain, chain.origin_h, plan.kernel_h, &FuseFactor::kernel_h, &FuseFactor::step_h) ||
      !AxisOk(plan, chain, chain.origin_w, plan.kernel_w, &FuseFactor::kernel_w, &FuseFactor::step_w)) {
    return {Code::kInvalidArgument, "a tap outside the fused kernel", index};
  }
  const FuseFactor& first = plan.factors[chain.factors[0]];
  if (first.out_begin + first.out_channels > plan.out_channels) return {Code::kInvalidArgument, "output channels of a chain", index};
  for (int64_t row = first.out_begin; row < first.out_begin + first.out_channels; ++row) {
    Span span{row, row + 1};
    for (size_t i : chain.factors) span = Reach(plan.factors[i], span);
    const Span allowed = RowChannels(plan, row);
    if (!span.empty() && (span.begin < allowed.begin || span.end > allowed.end)) {
      return {Code::kInvalidArgument, "input channels of a chain", index};
    }
  }
  return Ok();
}

Status CheckBias(const FusePlan& plan, const FuseBias& bias, long long index) {
  if (!FactorsOk(plan, bias.factors) || bias.constant == nullptr || !InRange(bias.begin, 0, kMaxDim) || !InRange(bias.count, 0, kMaxDim)) {
    return {Code::kInvalidArgument, "a bias", index};
  }
  const FuseFactor* first = bias.factors.empty() ? nullptr : &plan.factors[bias.factors[0]];
  const int64_t end = first == nullptr ? bias.begin + bias.count : first->out_begin + first->out_channels;
  return end <= plan.out_channels ? Ok() : Status{Code::kInvalidArgument, "output channels of a bias", index};
}

struct Range {
  const char* begin = nullptr;
  const char* end = nullptr;
  Range(const void* data, int64_t bytes) {
    if (data != nullptr) begin = static_cast<const char*>(data), end = begin + bytes;
  }
  bool Overlaps(const Range& other) const { return begin < other.end && other.begin < end; }
};

Range ValuesOf(const FuseFactor& f) {
  const int64_t bytes = f.type == FuseType::kF64 ? 8 : f.type == FuseType::kF32 ? 4 : 2;
  return f.type == FuseType::kConstant ? Range(nullptr, 0) : Range(f.data, f.out_channels * RowSize(f) * bytes);
}

// Row o of the factor's kernel lies exactly where row o of the fused kernel goes.
bool RowsCoincide(const FusePlan& plan, const FuseFactor& f) {
  return f.data == plan.weight && f.type == FuseType::kF32 && f.out_begin == 0 && f.out_channels == plan.out_channels &&
         RowSize(f) == RowSize(plan);
}

Status CheckOverlap(const FusePlan& plan, bool* in_place) {
  *in_place = false;
  const Range weight(plan.weight, plan.out_channels * RowSize(plan) * 4), bias(plan.bias, plan.out_channels * 4);
  const auto refuse = [](long long factor) { return Status{Code::kInvalidArgument, "a result that overlaps an operand", factor}; };
  if (weight.Overlaps(bias)) return refuse(-1);
  for (size_t i = 0; i < plan.factors.size(); ++i) {
    const FuseFactor& f = plan.factors[i];
    const Range values = ValuesOf(f), scale(f.scale, f.out_channels * 8);
    if (bias.Overlaps(values) || bias.Overlaps(scale) || weight.Overlaps(scale)) return refuse(static_cast<long long>(i));
    if (!weight.Overlaps(values)) continue;
    // A row must be read whole, by nothing but its own row of the result, before that row is written.
    const auto first_only = [i](const auto& chain) {
      return std::find(chain.factors.begin() + !chain.factors.empty(), chain.factors.end(), i) == chain.factors.end();
    };
    if (!RowsCoincide(plan, f) || !std::all_of(plan.chains.begin(), plan.chains.end(), first_only) ||
        !std::all_of(plan.biases.begin(), plan.biases.end(), first_only)) {
      return refuse(static_cast<long long>(i));
    }
    *in_place = true;
  }
  for (const FuseBias& term : plan.biases) {
    const Range constant(term.constant, term.count * 8);
    if (weight.Overlaps(constant) || bias.Overlaps(constant)) return refuse(-1);
  }
  return Ok();
}

}  // namespace

Span RowChannels(const FusePlan& plan, int64_t row) {
  const int64_t begin = row / (plan.out_channels / plan.groups) * plan.in_per_group;
  return {begin, begin + plan.in_per_group};
}

Span Reach(const FuseFactor& f, Span out) {
  const int64_t begin = std::max(out.begin, f.out_begin), end = std::min(out.end, f.out_begin + f.out_channels);
  if (begin >= end) return {};
  const int64_t per_group = f.out_channels / f.groups;
  const int64_t first = (begin - f.out_begin) / per_group, last = (end - 1 - f.out_begin) / per_group;
  return {f.in_begin + first * f.in_per_group, f.in_begin + (last + 1) * f.in_per_group};
}

}  // namespace repfuse::fuse

namespace repfuse {

Status CheckPlan(const FusePlan& plan, bool* in_place) {
  if (!fuse::ShapeOk(plan.out_channels, plan.in_per_group, plan.kernel_h, plan.kernel_w, plan.groups) || plan.weight == nullptr ||
      plan.bias == nullptr) {
    return {Code::kInvalidArgument, "shape of the fused kernel"};
  }
  for (size_t i = 0; i < plan.factors.size(); ++i) {
    if (!fuse::FactorOk(plan.factors[i])) return {Code::kInvalidArgument, "shape of a factor", static_cast<long long>(i)};
  }
  for (size_t i = 0; i < plan.chains.size(); ++i) {
    const Status status = fuse::CheckChain(plan, plan.chains[i], static_cast<long long>(i));
    if (!status.ok()) return status;
  }
  for (size_t i = 0; i < plan.biases.size(); ++i) {
    const Status status = fuse::CheckBias(plan, plan.biases[i], static_cast<long long>(i));
    if (!status.ok()) return status;
  }
  bool overlaps;
  return fuse::CheckOverlap(plan, in_place == nullptr ? &overlaps : in_place);
}

}  // namespace repfuse
