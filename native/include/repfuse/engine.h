// The engine: a network compiled once for each input shape and run many times. Activations stay in blocks of 16 channels with a permanent
// border of zeros, weights are packed once, a run takes no memory.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "repfuse/aligned_buffer.h"
#include "repfuse/checked.h"
#include "repfuse/elementwise.h"
#include "repfuse/shape.h"
#include "repfuse/status.h"

namespace repfuse {

// Values are images in the engine's own layout or tensors in row-major order. Kinds of the first row make images of images; of the second,
// what their inputs are; of the third, tensors of tensors. The last ones change the form.
enum class NodeKind {
  kConv,
  kMaxPool,
  kAveragePool,
  kGlobalAveragePool,
  kLinear,
  kGate,
  kFrame,
  kSoftmax,
  kAdd,
  kActivation,
  kBinary,
  kConcat,
  kResize,
  kDepthToSpace,
  kFlatten,
  kConstant,
  kTranspose,
  kSlice,
  kPad,
  kReshape,
  kSqueeze,
  kUnsqueeze,
  kReduceMean,
  kSoftmaxAxis,
  kMatMul,
  kToTensor,
  kToImages,
};

enum class BinaryFunction { kAdd, kSub, kMul, kDiv, kPRelu };  // kPRelu: a < 0 ? a b : a
enum class PadMode { kConstant, kReflect, kEdge, kWrap };

// How ONNX's Resize finds the place of a pixel in its input, and what it makes of the pixels there.
enum class ResizeCoordinates {
  kHalfPixel,
  kHalfPixelSymmetric,
  kPytorchHalfPixel,
  kAlignCorners,
  kAsymmetric,
  kTfHalfPixelForNn,
  kTfCropAndResize
};
enum class ResizeMode { kNearest, kLinear, kCubic };
enum class ResizeNearest { kRoundPreferFloor, kRoundPreferCeil, kFloor, kCeil };
enum class ResizeAspect { kStretch, kNotLarger, kNotSmaller };

struct ResizeOptions {
  ResizeMode mode = ResizeMode::kNearest;
  ResizeCoordinates coordinates = ResizeCoordinates::kHalfPixel;
  ResizeNearest nearest = ResizeNearest::kRoundPreferFloor;
  ResizeAspect aspect = ResizeAspect::kStretch;
  bool exclude_outside = false, antialias = false;
  double cubic_a = -0.75, extrapolation = 0;
  std::array<double, 2> scales{};          // height, width; 0: the sizes tell
  std::array<int64_t, 2> sizes{};          // 0: the scales tell; of two inputs those of the second
  std::array<double, 4> crop{0, 0, 1, 1};  // top, left, bottom, right, as shares of the input
};

// One operator. What its kind does not use stays as it is here.
struct NetworkNode {
  NodeKind kind = NodeKind::kActivation;
  std::string name;
  // Values: 0 is the network's input, i + 1 what node i makes. A convolution adds its second input before the activation; a gate
  // multiplies the first by the second, one value for each channel.
  std::vector<int> inputs;
  std::optional<Activation> activation;
  float alpha = 0, beta = 0;  // of the activation
  // Convolution, linear: weight [out_channels, in_channels / groups, kernel_h, kernel_w], bias [out_channels] or empty. Frame: bias holds
  // the value of each channel outside the map. Constant and binary: bias holds the constant, of shape `ints`.
  AlignedBuffer weight, bias;
  int64_t weight_count = 0;  // elements; the engine counts them before it takes the weight
  int64_t out_channels = 0, groups = 1;
  int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  // Negative only in a frame, where it crops.
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  // Pooling: whether a last window may hang over the edge, and whether padding counts.
  bool ceil_mode = false, count_include_pad = true;
  // Binary of one input: the other is the constant, and the first where `constant_first` says so. Shapes meet as numpy broadcasts them.
  BinaryFunction function = BinaryFunction::kAdd;
  bool constant_first = false;
  // Constant, binary: a shape. Concat, flatten: the axis. Softmax over an axis: the axis, 1 if over all from it on. Transpose: a
  // permutation. Slice: start, end, step of each axis. Pad: before each axis, then after each. Reshape: sizes (0: as the input's, -1: the
  // rest). Squeeze, unsqueeze: axes. Mean: 1 if they stay, then the axes. Depth to space: block height, width, 1 if channels come first
  // (CRD).
  std::vector<int64_t> ints;
  PadMode pad_mode = PadMode::kConstant;
  float pad_value = 0;
  ResizeOptions resize;
};

struct Network {
  int64_t in_channels = 0;
  std::vector<NetworkNode> nodes;
  std::vector<int> outputs;  // values
};

// How a convolution is computed; kAuto takes the one whose estimate is least.
// kDirect and Winograd's are of float32, and kDirect keeps what is not finite under its taps, Winograd's in its tile; kProducts sums
// products of bf16 terms where the level can, kFloat64 sums in float64.
enum class Algorithm { kAuto, kDirect, kWinograd2, kWinograd4, kProducts, kFloat64 };

// What a convolution may lose, whatever its finite data, of the largest sum of magnitudes of its terms (docs/precision.md): 5e-5; 1e-4;
// 1e-2. Where the level multiplies bf16, operands may be split into three terms (six products), two (three), one.
enum class Precision { kF32, kFast, kBf16 };

// Bytes that one run may take: its activations with their borders, its workspaces, and the packed weights. As many times those of its input
// and its weights, or `least` where that is more; never more than `most`.
struct MemoryLimit {
  int64_t most = int64_t{1} << 40, least = int64_t{1} << 40, times_input = 1, times_weights = 1;

  int64_t For(const Checked& input, const Checked& weights) const {
    const Checked allowed = input * times_input + weights * times_weights;
    return allowed.AtMost(most) ? std::min(most, std::max(least, allowed.value())) : most;
  }
};

struct EngineOptions {
  Algorithm algorithm = Algorithm::kAuto;
  Precision precision = Precision::kF32;
  // An image's result does not depend on the batch it came in: kernels are chosen as for one image.
  bool batch_invariant = false;
  int plans = 8;  // shapes whose plans are kept, the one used last
  MemoryLimit memory;
};

// One step of a plan.
struct StepReport {
  std::string name, kernel;
  Shape output;
  double macs;      // multiply-accumulates of the plain definition
  double bytes;     // of packed weights
  double estimate;  // seconds on one thread, by the table of rates; 0 where there is no choice
  double seconds;   // of the fastest run so far; 0 before the first
};

struct EngineMemory {
  size_t source_weights, packed_weights, activations, workspace;  // bytes
};

class Engine {
 public:
  // Takes the network. Fails naming the node (`where`) whose sizes contradict each other whatever the input.
  static Status Create(Network network, EngineOptions options, std::shared_ptr<Engine>* out);
  virtual ~Engine() = default;

  // Shapes of the results for an input [batch, channels, height, width].
  virtual Status OutputShapes(const ImageShape& input, std::vector<Shape>* outputs) const = 0;
  // Compiles the plan for a shape, if there is none. Fails naming the node (`where`) that does not fit, or whose value is the largest of
  // those that would take more than the limit.
  virtual Status Prepare(const ImageShape& input, int threads) = 0;
  // x is NCHW, outputs are row-major. Bit-equal for any number of threads. Calls may overlap.
  virtual Status Run(const ImageShape& input, const float* x, float* const* outputs, int threads) = 0;
  virtual Status Explain(const ImageShape& input, int threads, std::vector<StepReport>* out) = 0;
  virtual EngineMemory memory() const = 0;
};

}  // namespace repfuse
