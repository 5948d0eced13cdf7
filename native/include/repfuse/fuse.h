// Fusing: one convolution kernel as a sum of chains of convolution kernels and per-channel scales, evaluated row by row
// in float64 from the original tensors and rounded once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "repfuse/status.h"

namespace repfuse {

// What the values of a kernel are. kConstant is a depthwise kernel whose every tap is `value` (identity, average pooling).
enum class FuseType { kConstant, kF32, kF64, kF16, kBf16 };

// One link of a chain: a convolution kernel OIHW [out_channels, in_per_group, kernel_h, kernel_w], then a scale per output channel.
struct FuseFactor {
  FuseType type = FuseType::kConstant;
  const void* data = nullptr;
  double value = 1.0;
  int64_t out_channels = 0, in_per_group = 1, kernel_h = 1, kernel_w = 1, groups = 1;
  const double* scale = nullptr;  // [out_channels], null for 1
  // Where its channels lie in the numbering of the maps on either side (concatenation, split input).
  int64_t out_begin = 0, in_begin = 0;
  // Distance of neighbouring taps on the grid of the fused kernel.
  int64_t step_h = 1, step_w = 1;
};

// A product of factors, given as indices, the one nearest the output first. Its tap (0, 0) lands on (origin_h, origin_w).
struct FuseChain {
  std::vector<size_t> factors;
  int64_t origin_h = 0, origin_w = 0;
};

// Constants on the channels of a map from `begin` on, seen through the factors that follow it (none: an output bias).
struct FuseBias {
  std::vector<size_t> factors;
  std::span<const double> constants;
  int64_t begin = 0;
};

// When values are checked. kBefore: every operand is read before the first write, and a failed check leaves everything untouched.
// kDuring: within the one pass, by its results; a failed check leaves `weight` and `bias` half written.
enum class FuseCheck { kBefore, kDuring };

// kToOdd: not to the nearest float32 but so that a half type that is rounded from it is rounded once (see kernels/half/half.h).
enum class FuseRounding { kNearest, kToOdd };

struct FuseTask {
  // The fused kernel OIHW [out_channels, in_per_group, kernel_h, kernel_w] and its bias [out_channels].
  int64_t out_channels = 0, in_per_group = 0, kernel_h = 1, kernel_w = 1, groups = 1;
  std::vector<FuseFactor> factors;
  std::vector<FuseChain> chains;
  std::vector<FuseBias> biases;
  // May be the float32 buffer of factors that stand first in their chains and have rows of the same size: fusing in place.
  float* weight = nullptr;
  float* bias = nullptr;
  FuseCheck check = FuseCheck::kBefore;
  FuseRounding rounding = FuseRounding::kNearest;
};

struct FuseStats {
  // Float64 scratch of one thread: a tile of a row if every chain is one factor, a row if the longest is two, and two more
  // rows of a map in between for longer ones.
  int64_t scratch_bytes_per_thread = 0;
  bool in_place = false;
};

// Checks the task for memory safety: every tap inside the fused kernel, every channel inside its map, sizes that do not wrap,
// and no result that overlaps an operand except row for row. `where` is the index of the factor, chain or bias at fault.
Status CheckFuseTask(const FuseTask& task, bool* in_place = nullptr);

// CheckFuseTask, then the one pass that writes, with the check that every value read is finite and no result overflows before or
// during it. `where` of kNotFinite is the index of the factor, or -1 for an overflow, or where a pass in place has overwritten the
// evidence. Terms are added in a fixed order, never contracted to FMA: results are bit-equal for every ISA and thread count.
Status Fuse(const FuseTask& task, int threads, FuseStats* stats = nullptr);

}  // namespace repfuse
