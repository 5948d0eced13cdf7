// Checks of a fuse task: nothing here reads or writes a weight.
#include "factor.h"

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

bool FactorsOk(const FuseTask& task, const std::vector<size_t>& indices) {
  return std::all_of(indices.begin(), indices.end(), [&](size_t i) { return i < task.factors.size(); });
}

// Whether the taps of the chain stay inside the fused kernel, along one axis.
bool AxisOk(const FuseTask& task, const FuseChain& chain, int64_t origin, int64_t size, int64_t FuseFactor::*kernel,
            int64_t FuseFactor::*step) {
  if (!InRange(origin, 0, size - 1)) return false;
  int64_t last = origin;
  for (size_t i : chain.factors) {
    const FuseFactor& f = task.factors[i];
    last += (f.*kernel - 1) * (f.*step);  // each product is at most 2^62, and `last` is below 2^31
    if (last >= size) return false;
  }
  return true;
}

Status CheckChain(const FuseTask& task, const FuseChain& chain, long long index) {
  if (chain.factors.empty() || !FactorsOk(task, chain.factors)) return {Code::kInvalidArgument, "factors of a chain", index};
  if (!AxisOk(task, chain, chain.origin_h, task.kernel_h, &FuseFactor::kernel_h, &FuseFactor::step_h) ||
      !AxisOk(task, chain, chain.origin_w, task.kernel_w, &FuseFactor::kernel_w, &FuseFactor::step_w)) {
    return {Code::kInvalidArgument, "a tap outside the fused kernel", index};
  }
  const FuseFactor& first = task.factors[chain.factors[0]];
  if (first.out_begin + first.out_channels > task.out_channels) return {Code::kInvalidArgument, "output channels of a chain", index};
  for (int64_t row = first.out_begin; row < first.out_begin + first.out_channels; ++row) {
    Span span{row, row + 1};
    for (size_t i : chain.factors) span = Reach(task.factors[i], span);
    const Span allowed = RowChannels(task, row);
    if (!span.empty() && (span.begin < allowed.begin || span.end > allowed.end)) {
      return {Code::kInvalidArgument, "input channels of a chain", index};
    }
  }
  return Ok();
}

Status CheckBias(const FuseTask& task, const FuseBias& bias, long long index) {
  const auto count = static_cast<int64_t>(bias.constants.size());
  if (!FactorsOk(task, bias.factors) || bias.constants.data() == nullptr || !InRange(bias.begin, 0, kMaxDim) ||
      !InRange(count, 0, kMaxDim)) {
    return {Code::kInvalidArgument, "a bias", index};
  }
  const FuseFactor* first = bias.factors.empty() ? nullptr : &task.factors[bias.factors[0]];
  const int64_t end = first == nullptr ? bias.begin + count : first->out_begin + first->out_channels;
  return end <= task.out_channels ? Ok() : Status{Code::kInvalidArgument, "output channels of a bias", index};
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
bool RowsCoincide(const FuseTask& task, const FuseFactor& f) {
  return f.data == task.weight && f.type == FuseType::kF32 && f.out_begin == 0 && f.out_channels == task.out_channels &&
         RowSize(f) == RowSize(task);
}

Status CheckOverlap(const FuseTask& task, bool* in_place) {
  *in_place = false;
  const Range weight(task.weight, task.out_channels * RowSize(task) * 4), bias(task.bias, task.out_channels * 4);
  const auto refuse = [](long long factor) { return Status{Code::kInvalidArgument, "a result that overlaps an operand", factor}; };
  if (weight.Overlaps(bias)) return refuse(-1);
  for (size_t i = 0; i < task.factors.size(); ++i) {
    const FuseFactor& f = task.factors[i];
    const Range values = ValuesOf(f), scale(f.scale, f.out_channels * 8);
    if (bias.Overlaps(values) || bias.Overlaps(scale) || weight.Overlaps(scale)) return refuse(static_cast<long long>(i));
    if (!weight.Overlaps(values)) continue;
    // A row must be read whole, by nothing but its own row of the result, before that row is written.
    const auto first_only = [i](const auto& chain) {
      return std::find(chain.factors.begin() + !chain.factors.empty(), chain.factors.end(), i) == chain.factors.end();
    };
    if (!RowsCoincide(task, f) || !std::all_of(task.chains.begin(), task.chains.end(), first_only) ||
        !std::all_of(task.biases.begin(), task.biases.end(), first_only)) {
      return refuse(static_cast<long long>(i));
    }
    *in_place = true;
  }
  for (const FuseBias& term : task.biases) {
    const Range constants(term.constants.data(), static_cast<int64_t>(term.constants.size_bytes()));
    if (weight.Overlaps(constants) || bias.Overlaps(constants)) return refuse(-1);
  }
  return Ok();
}

}  // namespace
}  // namespace repfuse::fuse

namespace repfuse {

Status CheckFuseTask(const FuseTask& task, bool* in_place) {
  if (!fuse::ShapeOk(task.out_channels, task.in_per_group, task.kernel_h, task.kernel_w, task.groups) || task.weight == nullptr ||
      task.bias == nullptr) {
    return {Code::kInvalidArgument, "shape of the fused kernel"};
  }
  for (size_t i = 0; i < task.factors.size(); ++i) {
    if (!fuse::FactorOk(task.factors[i])) return {Code::kInvalidArgument, "shape of a factor", static_cast<long long>(i)};
  }
  for (size_t i = 0; i < task.chains.size(); ++i) {
    const Status status = fuse::CheckChain(task, task.chains[i], static_cast<long long>(i));
    if (!status.ok()) return status;
  }
  for (size_t i = 0; i < task.biases.size(); ++i) {
    const Status status = fuse::CheckBias(task, task.biases[i], static_cast<long long>(i));
    if (!status.ok()) return status;
  }
  bool overlaps;
  return fuse::CheckOverlap(task, in_place == nullptr ? &overlaps : in_place);
}

}  // namespace repfuse
