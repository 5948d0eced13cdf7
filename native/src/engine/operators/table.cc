// All operators. A new one is a row in a file of this folder, its declaration in operator.h, and its place here.
#include <algorithm>
#include <iterator>

#include "operator.h"
#include "repfuse/checked.h"

namespace repfuse {

namespace {

constexpr const Operator* kOperators[] = {&kConv,
                                          &kLinear,
                                          &kMaxPool,
                                          &kAveragePool,
                                          &kGlobalAveragePool,
                                          &kGate,
                                          &kFrame,
                                          &kSoftmax,
                                          &kSoftmaxOverAxis,
                                          &kAdd,
                                          &kActivation,
                                          &kBinary,
                                          &kConcat,
                                          &kResize,
                                          &kDepthToSpace,
                                          &kFlatten,
                                          &kReshape,
                                          &kSqueeze,
                                          &kUnsqueeze,
                                          &kConstant,
                                          &kTranspose,
                                          &kSlice,
                                          &kPad,
                                          &kReduce,
                                          &kWhere,
                                          &kMatMul,
                                          &kToTensor,
                                          &kToImages,
                                          &kCumSum,
                                          &kExpand,
                                          &kGather,
                                          &kGatherElements,
                                          &kGatherNd,
                                          &kGridSample,
                                          &kRecurrent,
                                          &kScatterElements,
                                          &kScatterNd,
                                          &kSpaceToDepth,
                                          &kNonMaxSuppression,
                                          &kNonZero,
                                          &kLpPool,
                                          &kSelectChannels,
                                          &kTopPlaces,
                                          &kTrilu,
                                          &kNumbers};

}  // namespace

const Operator* FindOperator(std::string_view name) {
  const auto* const found =
      std::find_if(std::begin(kOperators), std::end(kOperators), [&](const Operator* op) { return op->name == name; });
  return found == std::end(kOperators) ? nullptr : *found;
}

bool IsBiasOf(const NetworkNode& node, int64_t channels) {
  return node.bias.bytes() == 0 || node.bias.bytes() == static_cast<size_t>(channels) * sizeof(float);
}

Shape ShapeOfInts(const NetworkNode& node) {
  Shape shape;
  for (const int64_t dim : node.ints) {
    if (shape.rank < kMaxRank) shape[shape.rank++] = dim;
  }
  return shape;
}

bool IsConstantOf(const NetworkNode& node, const Shape& shape) {
  const Checked bytes = shape.checked_count() * static_cast<int64_t>(sizeof(float));
  return node.ints.size() <= kMaxRank && std::all_of(node.ints.begin(), node.ints.end(), [](int64_t dim) { return dim > 0; }) &&
         bytes.ok() && node.bias.bytes() == static_cast<size_t>(bytes.value());
}

}  // namespace repfuse
