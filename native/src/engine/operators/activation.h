// Functions of one number, as a step of their own and behind a convolution or a sum.
#pragma once

#include <cstddef>

#include "repfuse/kernels.h"
#include "repfuse/network.h"

namespace repfuse {

struct Activation {
  const char* name;
  FunctionF32 row;
  UnaryF32 (*kernel)(const KernelTable& kernels) = nullptr;  // instead of `row`
  // Those that only keep numbers within bounds, lowest and highest: false where these parameters are none.
  bool (*bounds)(float alpha, float beta, float* low, float* high) = nullptr;
  FunctionF32 (*function)(const KernelTable& kernels) = nullptr;  // instead of `row`: a kernel with parameters
};

// An activation with its parameters, on spans; x may equal y. Without one it is false.
class AppliedActivation {
 public:
  AppliedActivation() = default;
  AppliedActivation(const Activation& activation, float alpha, float beta, const KernelTable& kernels);
  explicit operator bool() const { return kernel_ != nullptr || row_ != nullptr; }
  void operator()(const float* x, float* y, size_t n) const {
    if (kernel_ != nullptr) return kernel_(x, y, n);
    row_(x, y, n, alpha_, beta_);
  }

 private:
  UnaryF32 kernel_ = nullptr;  // of those that have one
  FunctionF32 row_ = nullptr;
  float alpha_ = 0, beta_ = 0;
};

}  // namespace repfuse
