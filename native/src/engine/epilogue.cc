#include "epilogue.h"

#include <algorithm>
#include <limits>

#include "../kernels/blocked/finish_row.h"
#include "operators/operator.h"

namespace repfuse {
namespace {

// Zeros for the channels that do not exist.
std::shared_ptr<const std::vector<float>> InBlocks(const AlignedBuffer& values) {
  const size_t count = values.bytes() / sizeof(float), block = static_cast<size_t>(kBlock);
  auto blocks = std::make_shared<std::vector<float>>((count + block - 1) / block * block);
  std::copy_n(values.as<float>(), count, blocks->begin());
  return blocks;
}

// Whether the sum is among what follows the activation.
bool SumFollows(const NetworkNode& node) {
  return std::any_of(node.follows.begin(), node.follows.end(), [](const NodeFollow& each) { return each.adds; });
}

}  // namespace

bool AddsItsLastInput(const NetworkNode& node) { return SumFollows(node) || (node.op->is_convolution() && node.inputs.size() > 1); }

std::string DescribeEpilogue(const NetworkNode& node) {
  std::string words;
  const auto add = [&](const char* word) {
    if (!words.empty()) words += ", ";
    words += word;
  };
  if (!SumFollows(node) && AddsItsLastInput(node)) add("sum");
  if (node.activation != nullptr && node.op != &kActivation) add(node.activation->name);
  for (const NodeFollow& each : node.follows)
    add(each.activation != nullptr ? each.activation->name : each.adds ? "sum" : "scale and shift");
  return words;
}

Epilogue::Epilogue(const NetworkNode& node, const KernelTable& kernels)
    : low_(-std::numeric_limits<float>::infinity()),
      high_(std::numeric_limits<float>::infinity()),
      add_(kernels.add),
      bound_(kernels.blocked.finish),
      affine_(kernels.blocked.affine) {
  sums_first_ = !SumFollows(node) && AddsItsLastInput(node);
  if (node.activation != nullptr) {
    bool (*const bounds)(float, float, float*, float*) = node.activation->bounds;
    if (bounds == nullptr || !bounds(node.alpha, node.beta, &low_, &high_))
      parts_.push_back({AppliedActivation(*node.activation, node.alpha, node.beta, kernels), nullptr, nullptr});
  }
  for (const NodeFollow& each : node.follows) {
    Part part;
    if (each.activation != nullptr) part.activation = AppliedActivation(*each.activation, each.alpha, each.beta, kernels);
    else if (!each.adds) part.scale = InBlocks(each.scale), part.shift = InBlocks(each.shift);
    parts_.push_back(std::move(part));
  }
}

void Epilogue::Finish(float* row, int64_t pixels, int64_t block, const float* residual) const {
  const size_t count = static_cast<size_t>(pixels * kBlock);
  for (const Part& part : parts_) {
    if (part.activation) part.activation(row, row, count);
    else if (part.scale != nullptr) affine_({row, part.scale->data() + block * kBlock, part.shift->data() + block * kBlock, count});
    else if (residual != nullptr) add_(row, residual, row, count);
  }
}

void Epilogue::Apply(float* row, int64_t pixels, int64_t block, const float* residual) const {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  if (low_ != -kInfinity || high_ != kInfinity) bound_({row, nullptr, row, pixels * kBlock, low_, high_});
  Finish(row, pixels, block, residual);
}

float Epilogue::Finished(float value, int64_t channel, float residual) const {
  for (const Part& part : parts_) {
    const size_t c = static_cast<size_t>(channel);
    if (part.activation) part.activation(&value, &value, 1);
    else if (part.scale != nullptr)
      value = static_cast<float>(static_cast<double>(value) * (*part.scale)[c] + static_cast<double>((*part.shift)[c]));
    else value += residual;
  }
  return value;
}

}  // namespace repfuse
