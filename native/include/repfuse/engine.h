// The engine: a network compiled once for each input shape and run many times. Activations stay in blocks of 16 channels with a permanent
// border of zeros, weights are packed once, a run takes no memory.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "repfuse/checked.h"
#include "repfuse/network.h"
#include "repfuse/shape.h"
#include "repfuse/status.h"

namespace repfuse {

// How a convolution is computed; kAuto takes the one whose estimate is least.
// kDirect and Winograd's are of float32, and kDirect keeps what is not finite under its taps, Winograd's in its tile; kProducts sums
// products of bf16 terms where the level can, kFloat64 sums in float64.
enum class Algorithm { kAuto, kDirect, kWinograd2, kWinograd42, kWinograd4, kProducts, kFloat64 };
inline constexpr Word<Algorithm> kAlgorithms[] = {{"auto", Algorithm::kAuto},           {"direct", Algorithm::kDirect},
                                                  {"winograd2", Algorithm::kWinograd2}, {"winograd4x2", Algorithm::kWinograd42},
                                                  {"winograd4", Algorithm::kWinograd4}, {"products", Algorithm::kProducts},
                                                  {"float64", Algorithm::kFloat64}};

// What a convolution may lose, whatever its finite data, of the largest sum of magnitudes of its terms (docs/precision.md): 5e-5; 1e-4;
// 1e-2. Where the level multiplies bf16, operands may be split into three terms (six products), two (three), one.
enum class Precision { kF32, kFast, kBf16 };
inline constexpr Word<Precision> kPrecisions[] = {{"f32", Precision::kF32}, {"fast", Precision::kFast}, {"bf16", Precision::kBf16}};

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
  // Packed weights take no more than the weights as they came, as far as choosing kernels can do that: no growth by Winograd.
  bool least_memory = false;
  // Layers whose values between them need no memory are one step. No result depends on it.
  bool merge = true;
  int plans = 8;  // shapes whose plans are kept, the one used last
  MemoryLimit memory = {};
};

// One step of a plan.
struct StepReport {
  std::string name, kernel;
  std::string epilogue;  // what it does to its result, in order
  Shape output;
  double macs;       // multiply-accumulates of the plain definition
  double bytes;      // of packed weights
  double estimate;   // seconds on one thread, by the table of rates; 0 where there is no choice
  double seconds;    // of the fastest run so far; 0 before the first
  double error = 0;  // of rounding, as expected beside a direct convolution's; 0 where there is no choice
};

// What the inputs' shapes tell of a node: its ints, and the sizes of a resize.
struct NodeSizes {
  size_t node;
  std::vector<int64_t> ints;
  std::array<int64_t, 2> resize;
};

struct EngineMemory {
  size_t source_weights, packed_weights, activations, workspace;  // bytes
};

class Engine {
 public:
  // Takes the network. Fails naming the node (`where`) whose sizes contradict each other whatever the input.
  static Status Create(Network network, EngineOptions options, std::shared_ptr<Engine>* out);
  virtual ~Engine() = default;

  // Shapes of the results for inputs of those shapes; of images [batch, channels, height, width]. `sizes`, here and below: of every node
  // whose sizes depend on the inputs' shapes.
  virtual Status OutputShapes(std::span<const Shape> inputs, std::vector<Shape>* outputs, std::span<const NodeSizes> sizes = {}) = 0;
  // Compiles the plan for the inputs' shapes, if there is none. Fails naming the node (`where`) that does not fit, or whose value is the
  // largest of those that would take more than the limit.
  virtual Status Prepare(std::span<const Shape> inputs, int threads, std::span<const NodeSizes> sizes = {}) = 0;
  // Inputs and outputs are row-major, each of as many elements as its shape. Bit-equal for any number of threads. Calls may overlap.
  virtual Status Run(std::span<const Shape> shapes, std::span<const std::span<const float>> inputs,
                     std::span<const std::span<float>> outputs, int threads, std::span<const NodeSizes> sizes = {}) = 0;
  virtual Status Explain(std::span<const Shape> inputs, int threads, std::vector<StepReport>* out,
                         std::span<const NodeSizes> sizes = {}) = 0;
  virtual EngineMemory memory() const = 0;
};

}  // namespace repfuse
