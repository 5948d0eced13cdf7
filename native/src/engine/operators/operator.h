// What the engine knows of an operator: one row, defined in the file of this folder that bears its name and listed in table.cc.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "../step.h"
#include "repfuse/network.h"
#include "repfuse/status.h"

namespace repfuse {

// The types of an operator's inputs and of its result.
enum class ValueTypes {
  kImages,    // images of images
  kTensors,   // a tensor of tensors
  kAsInputs,  // images of images, or a tensor of tensors
  kToTensor,  // a tensor of images
  kToImages,  // images of a tensor
};

enum class Trait {
  kNone,
  kTakesActivation,  // `NetworkNode::activation` is applied, and `follows`
  kKeepsOrder,       // the result's elements are those of the input, in the same row-major order
};

struct InputCount {
  size_t least, most;
};

// A value of a plan with the shape that it has in the network.
struct ShapedValue {
  Value value;
  Shape shape;
  std::optional<Value> row_sums = std::nullopt;  // row_sums.h: where what makes the value takes them
};

// What a step is made of.
struct StepParts {
  const NetworkNode& node;
  std::span<const ShapedValue> inputs;
  const ShapedValue& output;
  ValueType type;  // of the inputs
  const KernelTable& kernels;
};

struct Operator {
  const char* name;  // by which a node asks for it
  InputCount inputs;
  ValueTypes types;
  // Of the result; fails where the inputs do not fit. `out` comes as the shape of the first input, if there is one.
  Status (*shape)(const NetworkNode& node, std::span<const Shape> inputs, ValueType type, Shape* out);
  // Null for those that are computed as convolutions: conv_step.h.
  std::unique_ptr<Step> (*step)(const StepParts& parts);
  Trait trait = Trait::kNone;

  bool is_convolution() const { return step == nullptr; }
};

// All of them, each defined in its file.
extern const Operator kConv, kLinear, kMaxPool, kAveragePool, kGlobalAveragePool, kGate, kFrame, kSoftmax, kSoftmaxOverAxis, kAdd,
    kActivation, kBinary, kConcat, kResize, kDepthToSpace, kFlatten, kReshape, kSqueeze, kUnsqueeze, kConstant, kTranspose, kSlice, kPad,
    kReduce, kWhere, kMatMul, kToTensor, kToImages;
extern const Operator kCumSum, kExpand, kGather, kGatherElements, kGatherNd, kGridSample, kNonMaxSuppression, kNonZero, kNumbers,
    kRecurrent, kScatterElements, kScatterNd, kSpaceToDepth;
extern const Operator kLpPool, kSelectChannels, kTopPlaces, kTrilu;

// A step that a function computes: body(run).
template <typename Body>
std::unique_ptr<Step> MakeStep(const StepParts& parts, std::string kernel, Body body, int64_t workspace = 0) {
  class FunctionStep final : public Step {
   public:
    FunctionStep(Value output, std::string kernel, Body body, int64_t workspace)
        : Step(output), kernel_(std::move(kernel)), body_(std::move(body)), workspace_(workspace) {}
    void Run(const RunState& run) const override { body_(run); }
    int64_t workspace() const override { return workspace_; }
    std::string kernel() const override { return kernel_; }

   private:
    std::string kernel_;
    Body body_;
    int64_t workspace_;
  };
  return std::make_unique<FunctionStep>(parts.output.value, std::move(kernel), std::move(body), workspace);
}

// How channels become blocks of pixels; blocks of one pixel: they stay what they are.
struct Spread {
  int64_t height = 1, width = 1;
  bool channels_first = false;  // of the three that a channel stands for: [channels, height, width], else [height, width, channels]

  int64_t pixels() const { return height * width; }  // of a block
  // The channel before that becomes a pixel of one of `channels`.
  int64_t channel(int64_t c, int64_t pixel, int64_t channels) const { return channels_first ? c * pixels() + pixel : pixel * channels + c; }
};
// Of a depth to space, or the way back.
Spread SpreadOf(const NetworkNode& node);
// What shapes are told with. The message names what does not fit.
inline Status Fails(const char* message) { return {Code::kInvalidArgument, message}; }
inline Status SameShape(const NetworkNode&, std::span<const Shape>, ValueType, Shape*) { return Ok(); }
// Of a slice that takes neighbouring channels, and all else: the first of them.
std::optional<int64_t> FirstChannelOfSlice(const NetworkNode& node, const Shape& input);
// Whether a node has no bias, or one of so many channels.
bool IsBiasOf(const NetworkNode& node, int64_t channels);
// The shape that a node's integers are; no more axes than a shape can have.
Shape ShapeOfInts(const NetworkNode& node);
// Whether a node's constant has as many elements as that shape.
bool IsConstantOf(const NetworkNode& node, const Shape& shape);

}  // namespace repfuse
