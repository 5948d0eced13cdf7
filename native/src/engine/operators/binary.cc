// The table of functions of two numbers, and the operators that apply one: on tensors as numpy broadcasts them, on images where their
// sizes are equal or 1; a constant beside images has one value, or one for each channel. A gate is a product of images.
#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <vector>

#include "../../kernels/elementwise/binary_rows.h"
#include "../epilogue.h"
#include "../walk.h"
#include "operator.h"

namespace repfuse {

using BinaryRun = void (*)(const BinaryRows& rows);

struct BinaryFunction {
  const char* name;
  BinaryRun run;
  BinaryRun (*kernel)(const KernelTable& kernels) = nullptr;  // instead of `run`

  BinaryRun For(const KernelTable& kernels) const { return kernel != nullptr ? kernel(kernels) : run; }
};

namespace {

// The one loop.
template <float (*kOf)(float a, float b)>
void Rows(const BinaryRows& r) {
  const bool block = r.inner == kBlock && r.a_inner == 1 && r.b_inner == 1;
  for (int64_t o = 0; o < r.outer; ++o) {
    const float *a = r.a + o * r.a_outer, *b = r.b + o * r.b_outer;
    float* y = r.y + o * r.inner;
    if (block)
      for (int i = 0; i < kBlock; ++i) y[i] = kOf(a[i], b[i]);
    else
      for (int64_t i = 0; i < r.inner; ++i) y[i] = kOf(a[i * r.a_inner], b[i * r.b_inner]);
  }
}

// Squares and cubes are what networks ask for.
float Power(float x, float exponent) {
  if (exponent == 2) return x * x;
  const double wide = x;
  return static_cast<float>(exponent == 3 ? wide * wide * wide : std::pow(wide, static_cast<double>(exponent)));
}
float Remainder(float a, float b) { return std::fmod(a, b); }
// With the sign of the divisor, as integers are divided.
float Modulus(float a, float b) {
  const float rest = std::fmod(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
// Truth values are 1 and 0; any other number counts as true.
template <typename Test>
float Truth(float a, float b) {
  return Test()(a, b) ? 1 : 0;
}
float And(float a, float b) { return a != 0 && b != 0 ? 1 : 0; }
float Or(float a, float b) { return a != 0 || b != 0 ? 1 : 0; }
float Xor(float a, float b) { return (a != 0) != (b != 0) ? 1 : 0; }

// A new function is a row: its name and Rows<what it makes of two numbers>.
constexpr BinaryFunction kFunctions[] = {{"add", nullptr, [](const KernelTable& kernels) { return kernels.binary.add; }},
                                         {"sub", nullptr, [](const KernelTable& kernels) { return kernels.binary.sub; }},
                                         {"mul", nullptr, [](const KernelTable& kernels) { return kernels.binary.mul; }},
                                         {"div", nullptr, [](const KernelTable& kernels) { return kernels.binary.div; }},
                                         {"prelu", nullptr, [](const KernelTable& kernels) { return kernels.binary.prelu; }},
                                         {"pow", Rows<Power>},
                                         {"min", nullptr, [](const KernelTable& kernels) { return kernels.binary.min; }},
                                         {"max", nullptr, [](const KernelTable& kernels) { return kernels.binary.max; }},
                                         {"mod", Rows<Modulus>},
                                         {"fmod", Rows<Remainder>},
                                         {"equal", Rows<Truth<std::equal_to<float>>>},
                                         {"less", Rows<Truth<std::less<float>>>},
                                         {"less_or_equal", Rows<Truth<std::less_equal<float>>>},
                                         {"greater", Rows<Truth<std::greater<float>>>},
                                         {"greater_or_equal", Rows<Truth<std::greater_equal<float>>>},
                                         {"and", Rows<And>},
                                         {"or", Rows<Or>},
                                         {"xor", Rows<Xor>}};

bool IsOfChannels(const Shape& constant, const Shape& images) {
  for (int axis = 0; axis < constant.rank; ++axis) {
    if (constant[axis] != 1 && images.rank - constant.rank + axis != 1) return false;
  }
  return constant.rank <= images.rank;
}

// Those that the function takes: without what is added to its result.
template <typename Input>
std::span<const Input> OperandsOf(const NetworkNode& node, std::span<const Input> inputs) {
  return inputs.first(inputs.size() - (AddsItsLastInput(node) ? 1 : 0));
}

Status BinaryResult(const NetworkNode& node, std::span<const Shape> all, ValueType type, Shape* out) {
  if (node.function == nullptr) return Fails("the function");
  if (type == ValueType::kTensor && (node.activation != nullptr || !node.follows.empty())) return Fails("what follows a tensor's function");
  const std::span<const Shape> inputs = OperandsOf(node, all);
  if (inputs.empty() || inputs.size() > 2) return Fails("the number of operands");
  Shape other = inputs.back();
  if (inputs.size() == 1) {
    other = ShapeOfInts(node);
    if (!IsConstantOf(node, other)) return Fails("the size of a constant");
    if (type == ValueType::kImages && !IsOfChannels(other, inputs[0])) return Fails("the shape of a constant beside images");
  } else if (type == ValueType::kImages && inputs[0].rank != inputs[1].rank) {
    return Fails("the shapes of two images");
  }
  return Broadcast(inputs[0], other, out) ? Ok() : Fails("shapes that do not meet");
}

Status GateResult(const NetworkNode&, std::span<const Shape> inputs, ValueType, Shape*) {
  const Shape& x = inputs[0];
  if (x.rank != 4) return Fails("an input that is no image");
  return inputs[1] == Shape::Of({x[0], x[1], 1, 1}) ? Ok() : Fails("the shape of a gate");
}

class BinaryOfImages final : public Step {
 public:
  BinaryOfImages(const StepParts& parts, const char* name, const BinaryFunction& function)
      : Step(parts.output.value),
        name_(name),
        function_(function.For(parts.kernels)),
        constant_first_(parts.node.constant_first),
        epilogue_(parts.node, parts.kernels) {
    const std::span<const ShapedValue> operands = OperandsOf(parts.node, parts.inputs);
    if (operands.size() < parts.inputs.size()) residual_ = parts.inputs.back().value;
    for (const ShapedValue& input : operands) {
      const ImageShape& s = input.value.layout.shape;
      const auto many = [](int64_t size) { return size > 1 ? int64_t{1} : 0; };
      inputs_.push_back(input.value);
      follows_.push_back({many(s.batch), many(s.channels), many(s.height), many(s.width)});
    }
    if (inputs_.size() > 1) return;
    // One value for each channel, in blocks.
    const AlignedBuffer& constant = parts.node.bias;
    const size_t count = constant.bytes() / sizeof(float), channels = static_cast<size_t>(output_.layout.shape.channels);
    constant_.assign(static_cast<size_t>(output_.layout.planes() * output_.layout.lanes()), 0.0f);
    for (size_t c = 0; c < channels; ++c) constant_[c] = constant.as<float>()[count == 1 ? 0 : c];
  }

  void Run(const RunState& run) const override {
    const Layout& to = output_.layout;
    const int64_t lanes = to.lanes();
    ForRows(to, run.threads, [&](int64_t n, int64_t plane, int64_t y) {
      float* row = out(run) + to.at(n, plane, y, 0);
      const Operand first = At(run, 0, n, plane, y);
      const Operand second = inputs_.size() > 1 ? At(run, 1, n, plane, y) : Operand{constant_.data() + plane * lanes, 0, 1};
      const Operand &a = constant_first_ ? second : first, &b = constant_first_ ? first : second;
      function_({a.row, b.row, row, to.shape.width, lanes, a.pixel, b.pixel, a.lane, b.lane});
      epilogue_.Apply(row, to.shape.width, plane, residual_ ? run.at(*residual_) + residual_->layout.at(n, plane, y, 0) : nullptr);
      ClearPaddedChannels(to, plane, row);
    });
  }
  std::string kernel() const override { return name_; }

 private:
  // How an operand follows the result: 0 along what it has one of.
  struct Follow {
    int64_t image, channel, row, pixel;
  };
  struct Operand {
    const float* row;
    int64_t pixel, lane;
  };
  Operand At(const RunState& run, size_t index, int64_t n, int64_t plane, int64_t y) const {
    const Layout& layout = inputs_[index].layout;
    const Follow& f = follows_[index];
    return {run.slots[inputs_[index].slot] + layout.at(n * f.image, plane * f.channel, y * f.row, 0), f.pixel * layout.pixel(), f.channel};
  }

  const char* name_;
  BinaryRun function_;
  std::vector<Value> inputs_;
  std::vector<Follow> follows_;
  std::vector<float> constant_;
  bool constant_first_;
  Epilogue epilogue_;
  std::optional<Value> residual_;
};

class BinaryOfTensors final : public Step {
 public:
  explicit BinaryOfTensors(const StepParts& parts)
      : Step(parts.output.value), function_(parts.node.function->For(parts.kernels)), walk_(parts.output.shape, StridesOf(parts)) {
    for (const ShapedValue& input : parts.inputs) slots_.push_back(input.value.slot);
    if (slots_.size() > 1) return;
    const AlignedBuffer& constant = parts.node.bias;
    constant_.assign(constant.as<float>(), constant.as<float>() + constant.bytes() / sizeof(float));
    slots_.insert(parts.node.constant_first ? slots_.begin() : slots_.end(), -1);
  }
  void Run(const RunState& run) const override {
    const float* a = slots_[0] < 0 ? constant_.data() : run.slots[slots_[0]];
    const float* b = slots_[1] < 0 ? constant_.data() : run.slots[slots_[1]];
    float* y = out(run);
    walk_.ForRows(run.threads, [&](int64_t to, const std::array<int64_t, 2>& from, int64_t count, const std::array<int64_t, 2>& step) {
      function_({a + from[0], b + from[1], y + to, 1, count, 0, 0, step[0], step[1]});
    });
  }
  std::string kernel() const override { return "binary"; }

 private:
  static std::array<Strides, 2> StridesOf(const StepParts& parts) {
    const Shape& result = parts.output.shape;
    const Strides first = BroadcastStrides(parts.inputs[0].shape, result);
    if (parts.inputs.size() > 1) return {first, BroadcastStrides(parts.inputs[1].shape, result)};
    const Strides other = BroadcastStrides(ShapeOfInts(parts.node), result);
    return parts.node.constant_first ? std::array{other, first} : std::array{first, other};
  }

  BinaryRun function_;
  Walk<2> walk_;
  std::vector<int> slots_;  // -1: the constant
  std::vector<float> constant_;
};

std::unique_ptr<Step> BinaryStep(const StepParts& parts) {
  if (parts.type == ValueType::kTensor) return std::make_unique<BinaryOfTensors>(parts);
  return std::make_unique<BinaryOfImages>(parts, "binary", *parts.node.function);
}

std::unique_ptr<Step> GateStep(const StepParts& parts) {
  return std::make_unique<BinaryOfImages>(parts, "gate", *FindBinaryFunction("mul"));
}

}  // namespace

const BinaryFunction* FindBinaryFunction(std::string_view name) {
  const auto* found = std::find_if(std::begin(kFunctions), std::end(kFunctions), [&](const BinaryFunction& f) { return f.name == name; });
  return found == std::end(kFunctions) ? nullptr : found;
}

const Operator kBinary{"binary", {1, 3}, ValueTypes::kAsInputs, BinaryResult, BinaryStep, Trait::kTakesActivation};
const Operator kGate{"gate", {2, 2}, ValueTypes::kImages, GateResult, GateStep};

}  // namespace repfuse
