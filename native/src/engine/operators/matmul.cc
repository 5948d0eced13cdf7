// Products of matrices, in batches.
#include "../../kernels/gemm/gemm.h"

#include <algorithm>

#include "../walk.h"
#include "operator.h"

namespace repfuse {
namespace {

// 1-D operands are a row and a column, and lose that axis in the result; axes before the last two are broadcast.
Status Result(const NetworkNode&, std::span<const Shape> inputs, Form, Shape* out) {
  Shape a = inputs[0], b = inputs[1];
  const bool row = a.rank == 1, column = b.rank == 1;
  if (a.rank == 0 || b.rank == 0) return Fails("the rank of a factor");
  if (row) a = Shape::Of({1, a[0]});
  if (column) b = Shape::Of({b[0], 1});
  if (a[a.rank - 1] != b[b.rank - 2]) return Fails("the sizes of the factors");
  const int64_t rows = a[a.rank - 2], columns = b[b.rank - 1];
  for (Shape* batch : {&a, &b}) {
    (*batch)[batch->rank - 1] = (*batch)[batch->rank - 2] = 0;
    batch->rank -= 2;
  }
  if (!Broadcast(a, b, out) || out->rank + 2 > kMaxRank) return Fails("the batches of the factors");
  if (!row) (*out)[out->rank++] = rows;
  if (!column) (*out)[out->rank++] = columns;
  return Ok();
}

// The packed product, one panel of the second factor at a time.
class MatMul final : public Step {
 public:
  explicit MatMul(const StepParts& parts)
      : Step(parts.output.value),
        a_slot_(parts.inputs[0].value.slot),
        b_slot_(parts.inputs[1].value.slot),
        kernel_(parts.kernels.gemm),
        batch_(parts.output.shape) {
    const Shape &a = parts.inputs[0].shape, &b = parts.inputs[1].shape;
    const bool row = a.rank == 1, column = b.rank == 1;
    depth_ = a[a.rank - 1];
    rows_ = row ? 1 : a[a.rank - 2];
    columns_ = column ? 1 : b[b.rank - 1];
    batch_.rank -= (row ? 0 : 1) + (column ? 0 : 1);
    for (int axis = batch_.rank; axis < kMaxRank; ++axis) batch_[axis] = 0;
    a_strides_ = BatchStrides(a, row, rows_ * depth_);
    b_strides_ = BatchStrides(b, column, depth_ * columns_);
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

const Operator kMatMul{"matMul", {2, 2}, Forms::kTensors, Result, MakeStep<MatMul>};

}  // namespace repfuse
