// A network as the engine takes it: operators, their numbers and tensors.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "repfuse/aligned_buffer.h"

namespace repfuse {

// A word and what it stands for; `value` of the row is what a node holds.
template <typename Value>
struct Word {
  const char* name;
  Value value;
};

// Rows of the engine's tables (src/engine/operators/), found by name; null where there is none of that name.
struct Operator;
const Operator* FindOperator(std::string_view name);
// A function of one number and up to two parameters.
struct Activation;
const Activation* FindActivation(std::string_view name);
// A function of two numbers.
struct BinaryFunction;
const BinaryFunction* FindBinaryFunction(std::string_view name);
// A function of many numbers.
struct Reduction;
const Reduction* FindReduction(std::string_view name);

enum class PadMode { kConstant, kReflect, kEdge, kWrap };
inline constexpr Word<PadMode> kPadModes[] = {
    {"constant", PadMode::kConstant}, {"reflect", PadMode::kReflect}, {"edge", PadMode::kEdge}, {"wrap", PadMode::kWrap}};

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
inline constexpr Word<ResizeCoordinates> kResizeCoordinates[] = {{"half_pixel", ResizeCoordinates::kHalfPixel},
                                                                 {"half_pixel_symmetric", ResizeCoordinates::kHalfPixelSymmetric},
                                                                 {"pytorch_half_pixel", ResizeCoordinates::kPytorchHalfPixel},
                                                                 {"align_corners", ResizeCoordinates::kAlignCorners},
                                                                 {"asymmetric", ResizeCoordinates::kAsymmetric},
                                                                 {"tf_half_pixel_for_nn", ResizeCoordinates::kTfHalfPixelForNn},
                                                                 {"tf_crop_and_resize", ResizeCoordinates::kTfCropAndResize}};
enum class ResizeMode { kNearest, kLinear, kCubic };
inline constexpr Word<ResizeMode> kResizeModes[] = {
    {"nearest", ResizeMode::kNearest}, {"linear", ResizeMode::kLinear}, {"cubic", ResizeMode::kCubic}};
enum class ResizeNearest { kRoundPreferFloor, kRoundPreferCeil, kFloor, kCeil };
inline constexpr Word<ResizeNearest> kResizeNearest[] = {{"round_prefer_floor", ResizeNearest::kRoundPreferFloor},
                                                         {"round_prefer_ceil", ResizeNearest::kRoundPreferCeil},
                                                         {"floor", ResizeNearest::kFloor},
                                                         {"ceil", ResizeNearest::kCeil}};
enum class ResizeAspect { kStretch, kNotLarger, kNotSmaller };
inline constexpr Word<ResizeAspect> kResizeAspects[] = {
    {"stretch", ResizeAspect::kStretch}, {"not_larger", ResizeAspect::kNotLarger}, {"not_smaller", ResizeAspect::kNotSmaller}};

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

// How a value lies: images in the engine's own layout, tensors in row-major order.
enum class ValueType { kImages, kTensor };

// What a node does to its result after its activation: another activation, or scales and shifts of its channels, or the sum with its last
// input.
struct NodeFollow {
  const Activation* activation = nullptr;
  float alpha = 0, beta = 0;
  bool adds = false;
  AlignedBuffer scale, shift;  // one for each channel
};

// How many times the rounding error of a direct convolution each form of Winograd's algorithm is expected to have.
struct WinogradErrors {
  double by2x2 = 1, by4x2 = 1, by4x4 = 1;
};

// One operator of a network. What it does not use stays as it is here.
struct NetworkNode {
  const Operator* op = nullptr;
  std::string name;
  // Values: the network's inputs, then what each node makes. A convolution adds its second input before the activation, unless one of
  // `follows` does; a gate multiplies the first by the second, one value for each channel.
  std::vector<int> inputs;
  // What an activation applies; convolutions and sums apply it to their result, and then what follows, in its order.
  const Activation* activation = nullptr;
  float alpha = 0, beta = 0;  // of the activation
  std::vector<NodeFollow> follows;
  // Convolution, linear: weight [out_channels, in_channels / groups, kernel_h, kernel_w], bias [out_channels] or empty. Frame: bias holds
  // the value of each channel outside the map. Constant and binary: bias holds the constant, of shape `ints`.
  AlignedBuffer weight, bias;
  int64_t weight_count = 0;        // elements; the engine counts them before it takes the weight
  WinogradErrors winograd_errors;  // of a 3 x 3 kernel
  int64_t out_channels = 0, groups = 1;
  int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  // Negative only in a frame, where it crops.
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  // Pooling: whether a last window may hang over the edge, and whether padding counts.
  bool ceil_mode = false, count_include_pad = true;
  // Binary of one input: the other is the constant, and the first where `constant_first` says so. Shapes meet as numpy broadcasts them.
  const BinaryFunction* function = nullptr;
  bool constant_first = false;
  const Reduction* reduction = nullptr;  // what a reduction makes of the values along its axes
  // Constant, binary, product with a constant: its shape. Concat, flatten: the axis. Softmax over an axis: the axis, 1 if over all from it
  // on. Transpose: a permutation. Slice: start, end, step of each axis. Pad: before each axis, then after each. Reshape: sizes (0: as the
  // input's, -1: the rest). Squeeze, unsqueeze: axes. Reduce: 1 if they stay, then the axes. Depth to space and back: block height, width,
  // 1 if channels come first (CRD). Expand: a shape. Gather, scatter: the axis, or how many axes data and indices share. Cumulative sum:
  // the axis, 1 if each sum leaves out its own element, 1 if it runs from the end. What other operators have stands in their files.
  std::vector<int64_t> ints;
  PadMode pad_mode = PadMode::kConstant;
  float pad_value = 0;
  ResizeOptions resize;
};

struct NetworkInput {
  ValueType type = ValueType::kImages;
  int64_t channels = 0;  // of images
};

struct Network {
  std::vector<NetworkInput> inputs;
  std::vector<NetworkNode> nodes;
  std::vector<int> outputs;  // values

  int value_of(size_t node) const { return static_cast<int>(inputs.size() + node); }
  bool IsInput(int value) const { return static_cast<size_t>(value) < inputs.size(); }
  // The node that makes a value that is no input.
  size_t maker(int value) const { return static_cast<size_t>(value) - inputs.size(); }
};

}  // namespace repfuse
