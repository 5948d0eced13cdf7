// Steps over tensors in row-major order.
#include <algorithm>
#include <cmath>
#include <limits>

#include "../kernels/gemm/gemm.h"
#include "tensor_shapes.h"
#include "tensor_steps.h"
#include "walk.h"

namespace repfuse {
namespace {

// Reads each element of the result at a place of its own in the input.
class StridedCopy final : public Step {
 public:
  StridedCopy(const char* name, TensorValue input, int64_t first, const Strides& strides, TensorValue output)
      : Step(output.value), name_(name), slot_(input.value.slot), first_(first), walk_(output.shape, {strides}) {}

  void Run(const RunState& run) const override {
    const float* x = run.slots[slot_] + first_;
    float* y = out(run);
    walk_.ForRows(run.threads, [&](int64_t to, const std::array<int64_t, 1>& from, int64_t count, const std::array<int64_t, 1>& step) {
      if (step[0] == 1) std::copy_n(x + from[0], count, y + to);
      else
        for (int64_t i = 0; i < count; ++i) y[to + i] = x[from[0] + i * step[0]];
    });
  }
  std::string kernel() const override { return name_; }

 private:
  const char* name_;
  int slot_;
  int64_t first_;
  Walk<1> walk_;
};

std::unique_ptr<Step> MakeTranspose(const NetworkNode& node, TensorValue input, TensorValue output) {
  const Strides dense = DenseStrides(input.shape);
  Strides strides{};
  for (size_t axis = 0; axis < node.ints.size(); ++axis) strides[axis] = dense[static_cast<size_t>(node.ints[axis])];
  return std::make_unique<StridedCopy>("transpose", input, 0, strides, output);
}

std::unique_ptr<Step> MakeSlice(const NetworkNode& node, TensorValue input, TensorValue output) {
  const Strides dense = DenseStrides(input.shape);
  Strides strides{};
  int64_t first = 0;
  for (int axis = 0; axis < input.shape.rank; ++axis) {
    const int64_t* slice = node.ints.data() + 3 * axis;
    const SliceRange range = RangeOf(slice[0], slice[1], slice[2], input.shape[axis]);
    first += range.first * dense[static_cast<size_t>(axis)];
    strides[static_cast<size_t>(axis)] = range.step * dense[static_cast<size_t>(axis)];
  }
  return std::make_unique<StridedCopy>("slice", input, first, strides, output);
}

// For each axis the index in the input that each index of the result reads; -1: the value outside.
class Pad final : public Step {
 public:
  Pad(const NetworkNode& node, TensorValue input, TensorValue output)
      : Step(output.value), slot_(input.value.slot), value_(node.pad_value), shape_(output.shape), strides_(DenseStrides(input.shape)) {
    for (int axis = 0; axis < shape_.rank; ++axis) {
      const int64_t size = input.shape[axis];
      std::vector<int64_t>& table = tables_[static_cast<size_t>(axis)];
      for (int64_t i = 0; i < shape_[axis]; ++i) table.push_back(Source(node.pad_mode, i - node.ints[static_cast<size_t>(axis)], size));
    }
  }

  void Run(const RunState& run) const override {
    const int inner = shape_.rank - 1;
    const int64_t length = inner < 0 ? 1 : shape_[inner];
    ForEach(shape_.count() / length, run.threads, [&](int64_t row, int) {
      int64_t offset = 0, rest = row;
      bool inside = true;
      for (int axis = inner - 1; axis >= 0; rest /= shape_[axis--]) {
        const int64_t index = tables_[static_cast<size_t>(axis)][static_cast<size_t>(rest % shape_[axis])];
        inside = inside && index >= 0;
        offset += index * strides_[static_cast<size_t>(axis)];
      }
      float* y = out(run) + row * length;
      if (inner < 0) *y = *run.slots[slot_];
      else if (!inside) std::fill_n(y, length, value_);
      else
        for (int64_t i = 0; i < length; ++i) {
          const int64_t index = tables_[static_cast<size_t>(inner)][static_cast<size_t>(i)];
          y[i] = index < 0 ? value_ : run.slots[slot_][offset + index];
        }
    });
  }
  std::string kernel() const override { return "pad"; }

 private:
  static int64_t Source(PadMode mode, int64_t index, int64_t size) {
    if (index >= 0 && index < size) return index;
    switch (mode) {
      case PadMode::kConstant: return -1;
      case PadMode::kEdge: return std::clamp<int64_t>(index, 0, size - 1);
      case PadMode::kReflect: return index < 0 ? -index : 2 * (size - 1) - index;
      case PadMode::kWrap: return (index % size + size) % size;
    }
    return -1;
  }

  int slot_;
  float value_;
  Shape shape_;
  Strides strides_;
  std::array<std::vector<int64_t>, kMaxRank> tables_;
};

// Whatever leaves the elements in their order.
class Copy final : public Step {
 public:
  Copy(const char* name, TensorValue input, TensorValue output)
      : Step(output.value), name_(name), slot_(input.value.slot), count_(output.shape.count()) {}
  void Run(const RunState& run) const override { std::copy_n(run.slots[slot_], count_, out(run)); }
  std::string kernel() const override { return name_; }

 private:
  const char* name_;
  int slot_;
  int64_t count_;
};

class Constant final : public Step {
 public:
  Constant(const NetworkNode& node, TensorValue output)
      : Step(output.value), values_(node.bias.as<float>(), node.bias.as<float>() + output.shape.count()) {}
  void Run(const RunState& run) const override { std::copy(values_.begin(), values_.end(), out(run)); }
  std::string kernel() const override { return "constant"; }

 private:
  std::vector<float> values_;
};

class Concat final : public Step {
 public:
  Concat(const NetworkNode& node, const std::vector<TensorValue>& inputs, TensorValue output) : Step(output.value) {
    const int axis = static_cast<int>(node.ints[0]);
    outer_ = output.shape.count(0, axis);
    for (const TensorValue& input : inputs) parts_.push_back({input.value.slot, input.shape.count(axis, input.shape.rank)});
    length_ = output.shape.count(axis, output.shape.rank);
  }
  void Run(const RunState& run) const override {
    ForEach(outer_, run.threads, [&](int64_t n, int) {
      float* y = out(run) + n * length_;
      for (const Part& part : parts_) y = std::copy_n(run.slots[part.slot] + n * part.length, part.length, y);
    });
  }
  std::string kernel() const override { return "concat"; }

 private:
  struct Part {
    int slot;
    int64_t length;
  };
  std::vector<Part> parts_;
  int64_t outer_, length_;
};

float Combine(BinaryFunction function, float a, float b) {
  switch (function) {
    case BinaryFunction::kAdd: return a + b;
    case BinaryFunction::kSub: return a - b;
    case BinaryFunction::kMul: return a * b;
    case BinaryFunction::kDiv: return a / b;
    case BinaryFunction::kPRelu: return a < 0 ? a * b : a;
  }
  return a;
}

class Binary final : public Step {
 public:
  Binary(const NetworkNode& node, const std::vector<TensorValue>& inputs, TensorValue output)
      : Step(output.value), function_(node.function), walk_(output.shape, StridesOf(node, inputs, output.shape)) {
    for (const TensorValue& input : inputs) slots_.push_back(input.value.slot);
    if (inputs.size() > 1) return;
    constant_.assign(node.bias.as<float>(), node.bias.as<float>() + node.bias.bytes() / sizeof(float));
    slots_.insert(node.constant_first ? slots_.begin() : slots_.end(), -1);
  }
  void Run(const RunState& run) const override {
    const float* a = slots_[0] < 0 ? constant_.data() : run.slots[slots_[0]];
    const float* b = slots_[1] < 0 ? constant_.data() : run.slots[slots_[1]];
    float* y = out(run);
    walk_.ForRows(run.threads, [&](int64_t to, const std::array<int64_t, 2>& from, int64_t count, const std::array<int64_t, 2>& step) {
      for (int64_t i = 0; i < count; ++i) y[to + i] = Combine(function_, a[from[0] + i * step[0]], b[from[1] + i * step[1]]);
    });
  }
  std::string kernel() const override { return "binary"; }

 private:
  static std::array<Strides, 2> StridesOf(const NetworkNode& node, const std::vector<TensorValue>& inputs, const Shape& result) {
    const Strides first = BroadcastStrides(inputs[0].shape, result);
    if (inputs.size() > 1) return {first, BroadcastStrides(inputs[1].shape, result)};
    Shape constant;
    for (const int64_t size : node.ints) constant[constant.rank++] = size;
    const Strides other = BroadcastStrides(constant, result);
    return node.constant_first ? std::array{other, first} : std::array{first, other};
  }

  BinaryFunction function_;
  Walk<2> walk_;
  std::vector<int> slots_;  // -1: the constant
  std::vector<float> constant_;
};

// Means in float64 over the axes that the node names.
class Mean final : public Step {
 public:
  Mean(const NetworkNode& node, TensorValue input, TensorValue output) : Step(output.value), slot_(input.value.slot) {
    const Strides dense = DenseStrides(input.shape);
    for (int axis = 0; axis < input.shape.rank; ++axis) {
      const bool reduced = std::find(node.ints.begin() + 1, node.ints.end(), axis) != node.ints.end();
      Axes& axes = reduced ? reduced_ : kept_;
      axes.strides[static_cast<size_t>(axes.shape.rank)] = dense[static_cast<size_t>(axis)];
      axes.shape[axes.shape.rank++] = input.shape[axis];
    }
  }
  void Run(const RunState& run) const override {
    const int64_t terms = reduced_.shape.count();
    ForEach(kept_.shape.count(), run.threads, [&](int64_t index, int) {
      const float* x = run.slots[slot_] + kept_.at(index);
      double sum = 0;
      for (int64_t term = 0; term < terms; ++term) sum += x[reduced_.at(term)];
      out(run)[index] = static_cast<float>(sum / static_cast<double>(terms));
    });
  }
  std::string kernel() const override { return "mean"; }

 private:
  struct Axes {
    Shape shape;
    Strides strides{};

    int64_t at(int64_t index) const {
      int64_t offset = 0;
      for (int axis = shape.rank - 1; axis >= 0; index /= shape[axis--]) offset += index % shape[axis] * strides[static_cast<size_t>(axis)];
      return offset;
    }
  };
  int slot_;
  Axes kept_, reduced_;
};

// In float64, over one axis or over all from it on.
class SoftmaxOverAxis final : public Step {
 public:
  SoftmaxOverAxis(const NetworkNode& node, TensorValue input, TensorValue output) : Step(output.value), slot_(input.value.slot) {
    const Shape& shape = input.shape;
    const int axis = static_cast<int>(node.ints[0]), end = node.ints[1] != 0 || shape.rank == 0 ? shape.rank : axis + 1;
    outer_ = shape.count(0, axis);
    length_ = shape.count(axis, end);
    inner_ = shape.count(end, shape.rank);
  }
  void Run(const RunState& run) const override {
    ForEach(outer_ * inner_, run.threads, [&](int64_t index, int) {
      const int64_t first = index / inner_ * length_ * inner_ + index % inner_;
      const float* x = run.slots[slot_] + first;
      float* y = out(run) + first;
      double largest = x[0], sum = 0;
      for (int64_t i = 1; i < length_; ++i) largest = std::max<double>(largest, x[i * inner_]);
      for (int64_t i = 0; i < length_; ++i) sum += std::exp(x[i * inner_] - largest);
      for (int64_t i = 0; i < length_; ++i) y[i * inner_] = static_cast<float>(std::exp(x[i * inner_] - largest) / sum);
    });
  }
  std::string kernel() const override { return "softmax over an axis"; }

 private:
  int slot_;
  int64_t outer_, length_, inner_;
};

// The packed product, one panel of the second factor at a time.
class MatMul final : public Step {
 public:
  MatMul(TensorValue a, TensorValue b, const GemmKernel& kernel, TensorValue output)
      : Step(output.value), a_slot_(a.value.slot), b_slot_(b.value.slot), kernel_(kernel) {
    const bool row = a.shape.rank == 1, column = b.shape.rank == 1;
    depth_ = a.shape[a.shape.rank - 1];
    rows_ = row ? 1 : a.shape[a.shape.rank - 2];
    columns_ = column ? 1 : b.shape[b.shape.rank - 1];
    batch_ = output.shape;
    batch_.rank -= (row ? 0 : 1) + (column ? 0 : 1);
    for (int axis = batch_.rank; axis < kMaxRank; ++axis) batch_[axis] = 0;
    a_strides_ = BatchStrides(a.shape, row, rows_ * depth_);
    b_strides_ = BatchStrides(b.shape, column, depth_ * columns_);
  }
  void Run(const RunState& run) const override {
    const int64_t panels = (columns_ + kernel_.columns - 1) / kernel_.columns;
    ForEach(batch_.count() * panels, run.threads, [&](int64_t index, int slot) {
      const int64_t image = index / panels, first = index % panels * kernel_.columns,
                    columns = std::min<int64_t>(kernel_.columns, columns_ - first);
      int64_t a_at = 0, b_at = 0, rest = image;
      for (int axis = batch_.rank - 1; axis >= 0; rest /= batch_[axis--]) {
        a_at += rest % batch_[axis] * a_strides_[static_cast<size_t>(axis)];
        b_at += rest % batch_[axis] * b_strides_[static_cast<size_t>(axis)];
      }
      const float *a = run.slots[a_slot_] + a_at, *b = run.slots[b_slot_] + b_at;
      float* packed = run.workspace + slot * run.workspace_size;
      for (int64_t k = 0; k < depth_; k += kernel_.k_block) {
        const int64_t depth = std::min(kernel_.k_block, depth_ - k);
        for (int64_t i = 0; i < depth; ++i) std::copy_n(b + (k + i) * columns_ + first, columns, packed + i * kernel_.columns);
        for (int64_t r = 0; r < rows_; r += kernel_.rows) {
          kernel_.run({.k = depth,
                       .a = a + r * depth_ + k,
                       .lda = depth_,
                       .b = packed,
                       .c = out(run) + (image * rows_ + r) * columns_ + first,
                       .ldc = columns_,
                       .rows = static_cast<int>(std::min<int64_t>(kernel_.rows, rows_ - r)),
                       .columns = static_cast<int>(columns),
                       .accumulate = k > 0,
                       .bias = nullptr,
                       .relu = false});
        }
      }
    });
  }
  int64_t workspace() const override { return std::min(kernel_.k_block, depth_) * kernel_.columns; }
  std::string kernel() const override { return std::string("matmul ") + kernel_.name; }

 private:
  Strides BatchStrides(const Shape& factor, bool vector, int64_t size) const {
    Shape batch = factor;
    batch.rank = vector ? 0 : batch.rank - 2;
    Strides strides = BroadcastStrides(batch, batch_);
    for (int64_t& stride : strides) stride *= size;
    return strides;
  }

  int a_slot_, b_slot_;
  GemmKernel kernel_;
  int64_t rows_, depth_, columns_;
  Shape batch_;
  Strides a_strides_, b_strides_;
};

}  // namespace

std::unique_ptr<Step> MakeTensorStep(const NetworkNode& node, const std::vector<TensorValue>& inputs, const KernelTable& kernels,
                                     TensorValue output) {
  switch (node.kind) {
    case NodeKind::kConstant: return std::make_unique<Constant>(node, output);
    case NodeKind::kBinary: return std::make_unique<Binary>(node, inputs, output);
    case NodeKind::kConcat: return std::make_unique<Concat>(node, inputs, output);
    case NodeKind::kTranspose: return MakeTranspose(node, inputs[0], output);
    case NodeKind::kSlice: return MakeSlice(node, inputs[0], output);
    case NodeKind::kPad: return std::make_unique<Pad>(node, inputs[0], output);
    case NodeKind::kReshape: return std::make_unique<Copy>("reshape", inputs[0], output);
    case NodeKind::kFlatten: return std::make_unique<Copy>("flatten", inputs[0], output);
    case NodeKind::kSqueeze: return std::make_unique<Copy>("squeeze", inputs[0], output);
    case NodeKind::kUnsqueeze: return std::make_unique<Copy>("unsqueeze", inputs[0], output);
    case NodeKind::kReduceMean: return std::make_unique<Mean>(node, inputs[0], output);
    case NodeKind::kSoftmaxAxis: return std::make_unique<SoftmaxOverAxis>(node, inputs[0], output);
    case NodeKind::kMatMul: return std::make_unique<MatMul>(inputs[0], inputs[1], kernels.gemm, output);
    default: return nullptr;
  }
}

}  // namespace repfuse
