// Fusing: one convolution kernel as a sum of chains of convolution kernels and per-channel scales, evaluated row by row
// in float64 from the original tensors and rounded once.
#pragma once

#include <cstdint>
#include <vector>

#include "repfuse/status.h"

namespace repfuse {

// One link of a chain: a convolution kernel OIHW [out_channels, in_per_group, kernel_h, kernel_w], then a scale per output channel.
struct FuseFactor {
  // The kernel's values, float or double; null for a depthwise kernel whose every tap is `value` (identity, average pooling).
  const void* data = nullptr;
  bool is_f64 = false;
  double value = 1.0;
  int64_t out_channels = 0;
  int64_t in_per_group = 0;
  int64_t kernel_h = 1, kernel_w = 1;
  int64_t groups = 1;
  const double* scale = nullptr;  // [out_channels], null for 1
  // Where its channels lie in the numbering of the maps on either side (concatenation, split input).
  int64_t out_begin = 0, in_begin = 0;
  // Distance of neighbouring taps on the target grid.
  int64_t step_h = 1, step_w = 1;
};

// A product of factors, the one nearest the output first. Its tap (0, 0) lands on (origin_h, origin_w) of the target.
struct FuseChain {
  std::vector<FuseFactor> factors;
  int64_t origin_h = 0, origin_w = 0;
};

// A constant added per channel, seen through the factors that follow it (none: it is an output bias).
struct FuseBias {
  std::vector<FuseFactor> factors;
  const double* constant = nullptr;  // [count], channels begin .. begin + count of the map it is added to
  int64_t begin = 0, count = 0;
};

struct FusePlan {
  // Target kernel OIHW [out_channels, in_per_group, kernel_h, kernel_w] and bias [out_channels].
  int64_t out_channels = 0, in_per_group = 0, kernel_h = 1, kernel_w = 1, groups = 1;
  std::vector<FuseChain> chains;
  std::vector<FuseBias> biases;
  float* weight = nullptr;  // may be the buffer of one first factor: see CheckPlan
  float* bias = nullptr;
};

struct FuseStats {
  // Float64 scratch of one thread beyond the fixed tile that stays in L1.
  int64_t scratch_bytes_per_thread = 0;
  bool in_place = false;
};

// Checks the plan for memory safety: every tap inside the target, every channel inside its map, sizes that do not wrap, and that
// `weight` overlaps no operand except, row for row, the kernel of one first factor (fusing in place).
Status CheckPlan(const FusePlan& plan);

// CheckPlan, then a check that every value read is finite and no result overflows, and only then the one pass that writes.
// A failed check leaves everything untouched; its `where` is the index of the factor (in order of the chains) or channel at fault.
// Terms are added in the order of `chains`, never contracted to FMA: results are bit-equal for every ISA and thread count.
Status Fuse(const FusePlan& plan, int threads, FuseStats* stats);

}  // namespace repfuse
