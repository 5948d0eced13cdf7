// What a step does to its results before they are read.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "operators/activation.h"

namespace repfuse {

// In order: what a tile of a convolution does by itself (a sum, bounds), and what must follow.
class Epilogue {
 public:
  Epilogue(const NetworkNode& node, const KernelTable& kernels);

  bool sums_first() const { return sums_first_; }  // the residual enters before the bounds
  float low() const { return low_; }
  float high() const { return high_; }
  bool follows() const { return !parts_.empty(); }
  // Pixels of a row, of a block of 16 channels. residual: of the same pixels; null where there is none, or it has been added.
  void Finish(float* row, int64_t pixels, int64_t block, const float* residual) const;
  // All of it, of a row that no tile has made: of blocks.
  void Apply(float* row, int64_t pixels, int64_t block, const float* residual) const;
  // What follows, of one number.
  float Finished(float value, int64_t channel, float residual) const;

 private:
  // An activation, or scales and shifts of channels, or a sum.
  struct Part {
    AppliedActivation activation;
    std::shared_ptr<const std::vector<float>> scale, shift;
  };

  bool sums_first_ = false;
  float low_, high_;
  std::vector<Part> parts_;
  BinaryF32 add_;
  void (*bound_)(const FinishedRow& row);
  void (*affine_)(const AffineRow& row);
};

// In words: "sum, relu, scale and shift".
std::string DescribeEpilogue(const NetworkNode& node);

// Whether the last input of a node is what it adds to its result.
bool AddsItsLastInput(const NetworkNode& node);

}  // namespace repfuse
