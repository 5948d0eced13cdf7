// The engine: a network compiled once for each input shape and run many times. Activations stay in blocks of 16 channels with a permanent
// border of zeros, weights are packed once, a run takes no memory.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "repfuse/aligned_buffer.h"
#include "repfuse/elementwise.h"
#include "repfuse/status.h"

namespace repfuse {

enum class NodeKind { kConv, kMaxPool, kAveragePool, kGlobalAveragePool, kLinear, kActivation, kAdd, kGate, kSoftmax, kFlatten, kFrame };

// [batch, channels, height, width]; [batch, features, 1, 1] for what is no image.
struct ImageShape {
  int64_t batch, channels, height, width;

  bool operator==(const ImageShape&) const = default;
};

// One operator. What its kind does not use stays as it is here.
struct NetworkNode {
  NodeKind kind = NodeKind::kActivation;
  std::string name;
  // Values: 0 is the network's input, i + 1 what node i makes. A convolution adds its second input before the activation; a gate
  // multiplies the first by the second, one value for each channel.
  std::vector<int> inputs;
  std::optional<Activation> activation;
  // Convolution, linear: weight [out_channels, in_channels / groups, kernel_h, kernel_w], bias [out_channels] or empty. Frame: bias holds
  // the value of each channel outside the map.
  AlignedBuffer weight, bias;
  int64_t weight_count = 0;  // elements; the engine counts them before it takes the weight
  int64_t out_channels = 0, groups = 1;
  int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  // Negative only in a frame, where it crops.
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  // Pooling: whether a last window may hang over the edge, and whether padding counts.
  bool ceil_mode = false, count_include_pad = true;
};

struct Network {
  int64_t in_channels = 0;
  std::vector<NetworkNode> nodes;
  int output = 0;  // a value
};

// How a convolution is computed; kAuto takes the one whose estimate is least.
// kDirect and Winograd's are of float32; kProducts sums products of bf16 terms where the level can, kFloat64 sums in float64.
enum class Algorithm { kAuto, kDirect, kWinograd2, kWinograd4, kProducts, kFloat64 };

// What a convolution may lose, of the peak of its result: max(2e-6, twice the error of a plain float32 convolution); 2e-5; 1e-2. Where the level
// multiplies bf16, operands may be split into three terms (six products), two (three), one.
enum class Precision { kF32, kFast, kBf16 };

struct EngineOptions {
  Algorithm algorithm = Algorithm::kAuto;
  Precision precision = Precision::kF32;
  // An image's result does not depend on the batch it came in: kernels are chosen as for one image.
  bool batch_invariant = false;
  int plans = 8;  // shapes whose plans are kept, the one used last
};

// One step of a plan.
struct StepReport {
  std::string name, kernel;
  ImageShape output;
  double macs;          // multiply-accumulates of the plain definition
  double bytes;         // of packed weights
  double estimate;      // seconds on one thread, by the table of rates; 0 where there is no choice
  double seconds;       // of the fastest run so far; 0 before the first
};

struct EngineMemory {
  size_t source_weights, packed_weights, activations, workspace;  // bytes
};

class Engine {
 public:
  // Takes the network. Fails where a node's sizes contradict each other whatever the input.
  static Status Create(Network network, EngineOptions options, std::shared_ptr<Engine>* out);
  virtual ~Engine() = default;

  // Shape of the result for an input [batch, channels, height, width].
  virtual Status OutputShape(const ImageShape& input, ImageShape* output) const = 0;
  // Compiles the plan for a shape, if there is none.
  virtual Status Prepare(const ImageShape& input, int threads) = 0;
  // x and y are NCHW. Bit-equal for any number of threads. Calls may overlap.
  virtual Status Run(const ImageShape& input, const float* x, float* y, int threads) = 0;
  virtual Status Explain(const ImageShape& input, int threads, std::vector<StepReport>* out) = 0;
  virtual EngineMemory memory() const = 0;
};

}  // namespace repfuse
